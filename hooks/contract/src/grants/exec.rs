//! Which commands may run where.

use std::collections::BTreeMap;

use super::kubernetes::is_object_name;
use super::selector::{Selector, is_key, is_value};
use super::{Denied, ExecGrant, Flaw, Grants};
use crate::effects::{Command, Target};

/// Arguments of one command, and their bytes together.
const MOST_ARGUMENTS: usize = 256;
const MOST_ARGUMENT_BYTES: usize = 64 << 10;

/// A command may run where [`ExecPermit::allows`] says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecPermit {
    /// The pod, where it is named.
    pub pod: Option<String>,
    /// The pods, where they are selected.
    pub selector: Option<Selector>,
    /// The container, where it is named.
    pub container: Option<String>,
    /// Whether more than one pod is meant.
    pub all_matching: bool,
    places: Vec<Place>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    labels: BTreeMap<String, String>,
    containers: Vec<String>,
}

impl ExecPermit {
    /// Whether the commands may run in that container of a pod with these labels. To be asked of every pod that was found, also of one that
    /// was found by its name, and of the container where none was named.
    pub fn allows(&self, labels: &BTreeMap<String, String>, container: &str) -> bool {
        self.places.iter().any(|place| {
            place.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
                && place.containers.iter().any(|granted| granted == container)
        })
    }
}

impl Grants {
    /// May all these commands run there? More than one is a command and what undoes it.
    ///
    /// # Errors
    ///
    /// Says what was not granted.
    pub fn permit_exec(&self, target: &Target, commands: &[&Command]) -> Result<ExecPermit, Denied> {
        let selector = check_target(target)?;
        for command in commands {
            check_command(command)?;
        }
        let shown = || commands.iter().map(|command| show(&command.argv)).collect::<Vec<_>>().join(" and ");
        let mut places: Vec<Place> = Vec::new();
        let mut is_command_granted = false;
        for grant in &self.exec {
            let covers =
                |command: &&Command| grant.commands.iter().any(|pattern| matches(pattern, &command.argv));
            if !commands.iter().all(covers) {
                continue;
            }
            is_command_granted = true;
            let is_container = target.container.as_ref().is_none_or(|name| grant.containers.contains(name));
            // A selector that can find a pod outside the grant is refused as such, and not only when it finds one.
            let is_inside = selector.as_ref().is_none_or(|selector| selector.implies(&grant.pod_selector));
            if is_container && is_inside {
                places
                    .push(Place { labels: grant.pod_selector.clone(), containers: grant.containers.clone() });
            }
        }
        if places.is_empty() {
            return Err(Denied::because(if is_command_granted {
                format!("no exec grant has {} for {}", place(target), shown())
            } else {
                format!("no exec grant has a command that matches {}", shown())
            }));
        }
        let Target { pod, container, all_matching, .. } = target.clone();
        Ok(ExecPermit { pod, selector, container, all_matching, places })
    }
}

fn check_target(target: &Target) -> Result<Option<Selector>, Denied> {
    if target.container.as_ref().is_some_and(|name| !is_object_name(name)) {
        return Err(Denied::because("target.container is not the name of a container"));
    }
    match (&target.pod, &target.label_selector) {
        (Some(pod), None) if is_object_name(pod) => Ok(None),
        (Some(_), None) => Err(Denied::because("target.pod is not the name of a pod")),
        (None, Some(text)) => Selector::parse(text)
            .map(Some)
            .map_err(|error| Denied::because(format!("target.label-selector: {error}"))),
        _ => Err(Denied::because("a target needs either `pod` or `label-selector`")),
    }
}

fn check_command(command: &Command) -> Result<(), Denied> {
    let bytes: usize = command.argv.iter().map(String::len).sum();
    if command.argv.is_empty() || command.argv.iter().any(|argument| argument.contains('\0')) {
        Err(Denied::because("a command needs a program, and arguments without NUL"))
    } else if command.argv.len() > MOST_ARGUMENTS || bytes > MOST_ARGUMENT_BYTES {
        Err(Denied::because(format!(
            "a command may have {MOST_ARGUMENTS} arguments of {MOST_ARGUMENT_BYTES} bytes together: pass more by stdin"
        )))
    } else {
        Ok(())
    }
}

/// Whether the pattern covers the arguments: `*` one, `**` any number, anything else itself.
fn matches(pattern: &[String], arguments: &[String]) -> bool {
    // Row by row over the pattern: `reached[n]` says that it covers the first n arguments. Never more than the product of both lengths.
    let mut reached = vec![false; arguments.len() + 1];
    reached[0] = true;
    for part in pattern {
        let mut next = vec![false; arguments.len() + 1];
        if part == "**" {
            let mut any = false;
            for (to, from) in next.iter_mut().zip(&reached) {
                any |= *from;
                *to = any;
            }
        } else {
            for (number, argument) in arguments.iter().enumerate() {
                next[number + 1] = reached[number] && (part == "*" || part == argument);
            }
        }
        reached = next;
    }
    reached[arguments.len()]
}

fn place(target: &Target) -> String {
    let pods = match (&target.pod, &target.label_selector) {
        (Some(pod), _) => format!("pod {pod}"),
        (None, selector) => format!("pods `{}`", selector.clone().unwrap_or_default()),
    };
    target.container.as_ref().map_or(pods.clone(), |container| format!("{pods}, container {container},"))
}

/// The first arguments: enough to know the command, and no more of what may be a password.
fn show(argv: &[String]) -> String {
    let mut shown: Vec<&str> = argv.iter().take(2).map(String::as_str).collect();
    if argv.len() > 2 {
        shown.push("…");
    }
    format!("`{}`", shown.join(" "))
}

pub(super) fn validate(grant: &ExecGrant) -> Result<(), Flaw> {
    if grant.pod_selector.is_empty() {
        return Err(("podSelector".into(), "is empty, which is every pod: name a label".into()));
    }
    if let Some((key, _)) = grant.pod_selector.iter().find(|(key, value)| !is_key(key) || !is_value(value)) {
        return Err((format!("podSelector.{key}"), "is not a label".into()));
    }
    if grant.containers.is_empty() || !grant.containers.iter().all(|name| is_object_name(name)) {
        return Err(("containers".into(), "must hold names of containers, at least one".into()));
    }
    if grant.commands.is_empty() {
        return Err(("commands".into(), "is empty: name a command, like [\"psql\", \"**\"]".into()));
    }
    for (number, pattern) in grant.commands.iter().enumerate() {
        match pattern.first().map(String::as_str) {
            None | Some("" | "*" | "**") => {
                return Err((
                    format!("commands[{number}]"),
                    "must begin with a command that stands for itself, like [\"psql\", \"**\"]".into(),
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn command(text: &str) -> Command {
        Command { argv: words(text), stdin: Vec::new(), timeout_seconds: 1, max_output: 0 }
    }

    fn grants() -> Grants {
        let grant = |app: &str, commands: &[&str]| ExecGrant {
            pod_selector: BTreeMap::from([("app".to_owned(), app.to_owned())]),
            containers: vec!["main".to_owned()],
            commands: commands.iter().map(|text| words(text)).collect(),
        };
        Grants {
            exec: vec![grant("db", &["psql **", "fsfreeze * /data"]), grant("web", &["true"])],
            ..Grants::default()
        }
    }

    fn selected(selector: &str) -> Target {
        Target {
            label_selector: Some(selector.to_owned()),
            container: Some("main".to_owned()),
            ..Target::default()
        }
    }

    #[test]
    fn patterns_cover_arguments() {
        for (pattern, argv, covers) in [
            ("psql", "psql", true),
            ("psql", "psql -c x", false),
            ("psql **", "psql", true),
            ("psql **", "psql -c x", true),
            ("psql **", "mysql -c x", false),
            ("psql *", "psql", false),
            ("psql *", "psql x", true),
            ("psql *", "psql x y", false),
            ("a ** z", "a b c z", true),
            ("a ** z", "a z", true),
            ("a ** z", "a b", false),
            ("a ** b ** c", "a b b x c", true),
            ("a x*", "a xy", false),
        ] {
            assert_eq!(matches(&words(pattern), &words(argv)), covers, "{pattern} / {argv}");
        }
        let many = vec!["**".to_owned(); 64];
        assert!(matches(&many, &vec!["x".to_owned(); 256]));
    }

    #[test]
    fn a_command_outside_the_grant_is_denied_with_its_name() {
        let error = grants().permit_exec(&selected("app=db"), &[&command("sh -c id")]).unwrap_err();
        assert_eq!(error.to_string(), "no exec grant has a command that matches `sh -c …`");
        let both = [&command("psql"), &command("sh")];
        assert!(grants().permit_exec(&selected("app=db"), &both).is_err(), "what undoes is judged too");
    }

    #[test]
    fn a_selector_that_could_find_foreign_pods_is_denied() {
        for selector in ["", "app", "app in (db,web)", "app!=x", "tier=a", "app=web", "app=db2"] {
            assert!(grants().permit_exec(&selected(selector), &[&command("psql")]).is_err(), "{selector}");
        }
        assert!(grants().permit_exec(&selected("app=db,role=primary"), &[&command("psql")]).is_ok());
    }

    #[test]
    fn a_pod_found_by_name_must_have_the_labels() {
        let target = Target { pod: Some("db-0".into()), ..Target::default() };
        let permit = grants().permit_exec(&target, &[&command("psql")]).unwrap();
        let labels = |app: &str| BTreeMap::from([("app".to_owned(), app.to_owned())]);
        assert!(permit.allows(&labels("db"), "main"));
        assert!(!permit.allows(&labels("web"), "main"), "that grant has another command");
        assert!(!permit.allows(&labels("db"), "sidecar"));
        assert!(!permit.allows(&BTreeMap::new(), "main"));
    }

    #[test]
    fn a_grant_for_one_command_lends_no_place_to_another() {
        let permit = grants().permit_exec(&selected("app=web"), &[&command("true")]).unwrap();
        assert!(!permit.allows(&BTreeMap::from([("app".to_owned(), "db".to_owned())]), "main"));
    }

    #[test]
    fn strange_targets_and_commands_are_denied() {
        let both =
            Target { pod: Some("db-0".into()), label_selector: Some("app=db".into()), ..Target::default() };
        let path = Target { pod: Some("../web-0".into()), ..Target::default() };
        for target in [both, path, Target::default()] {
            assert!(grants().permit_exec(&target, &[&command("psql")]).is_err(), "{target:?}");
        }
        assert!(grants().permit_exec(&selected("app=db"), &[&command("")]).is_err());
        assert!(grants().permit_exec(&selected("app=db"), &[&command("psql a\0b")]).is_err());
        let long = Command { argv: vec!["psql".into(), "x".repeat(MOST_ARGUMENT_BYTES)], ..command("psql") };
        assert!(grants().permit_exec(&selected("app=db"), &[&long]).is_err());
    }

    #[test]
    fn a_grant_of_every_program_is_refused() {
        let mut all = grants();
        all.exec[0].commands = vec![words("**")];
        assert!(
            all.validate()
                .unwrap_err()
                .to_string()
                .starts_with("exec[0].commands[0]: must begin with a command")
        );
        all.exec[0].pod_selector.clear();
        assert!(all.validate().unwrap_err().to_string().starts_with("exec[0].podSelector: is empty"));
    }
}
