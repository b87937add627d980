//! How much memory modules may take, all of them and those of one namespace.

use std::collections::HashMap;

/// What modules may take, in MiB.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Of the calls of each kind together.
    pub calls: u32,
    /// Of what modules are compiled to, of which each stays in memory.
    pub code: u32,
}

/// The most that one namespace gets.
fn half(mebi: u32) -> u32 {
    (mebi / 2).max(1)
}

impl Budget {
    /// Of the calls of one kind and one namespace, and so of one call: a module that wants more would keep all others from running.
    pub fn calls_of_one(self) -> u32 {
        half(self.calls)
    }

    /// Whether there is room for the code of one more module beside these, of each of which one copy is held: namespace, digest and bytes.
    pub fn bear<'m>(
        self,
        namespace: &str,
        module: (&'m str, u64),
        others: impl Iterator<Item = (&'m str, &'m str, u64)>,
    ) -> Result<(), String> {
        let (mut all, mut own) = (HashMap::from([module]), HashMap::from([module]));
        for (home, digest, bytes) in others {
            all.insert(digest, bytes);
            if home == namespace {
                own.insert(digest, bytes);
            }
        }
        let most = |mebi: u32| u64::from(mebi) << 20;
        let (of_all, of_one) = (most(self.code), most(half(self.code)));
        let whose = if own.values().sum::<u64>() > of_one {
            format!(
                "the modules of namespace {namespace} would take more than {} MiB, half of --hook-code-memory",
                of_one >> 20
            )
        } else if all.values().sum::<u64>() > of_all {
            format!("all modules would take more than {} MiB, which is --hook-code-memory", of_all >> 20)
        } else {
            return Ok(());
        };
        Err(format!("compiled, {whose}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_has_its_bounds() {
        let budget = Budget { calls: 1, code: 100 };
        let mebi = |count: u64| count << 20;
        let bear = |namespace: &str, others: &[(&str, &str, u64)]| {
            let module = ("new", mebi(30));
            budget.bear(namespace, module, others.iter().copied())
        };
        assert_eq!(bear("a", &[]), Ok(()));
        // Half is for one namespace, and what is the same is there once.
        assert!(bear("a", &[("a", "one", mebi(21))]).unwrap_err().contains("namespace a"));
        assert_eq!(bear("b", &[("a", "one", mebi(21))]), Ok(()));
        assert_eq!(bear("a", &[("a", "new", mebi(30)), ("b", "new", mebi(30))]), Ok(()));
        let full = [("b", "one", mebi(40)), ("c", "two", mebi(40))];
        assert!(bear("a", &full).unwrap_err().contains("all modules"));
    }
}
