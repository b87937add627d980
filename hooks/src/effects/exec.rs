//! Commands in containers.

use std::sync::Arc;

use scribe_hooks_contract::effects::{Command, ExecError, Outcome, Target};
use scribe_hooks_contract::grants::{Denied, ExecPermit};

use super::{Answer, seconds, within};
use crate::host::Host;
use crate::state::CallState;

impl CallState {
    pub(super) fn permit_exec(
        &mut self,
        name: &'static str,
        target: &Target,
        commands: &[&Command],
    ) -> Result<(Arc<dyn Host>, ExecPermit), Denied> {
        let effects = self.effects(name)?;
        let permit = effects.grants.permit_exec(target, commands)?;
        Ok((effects.host.clone(), permit))
    }

    pub async fn exec(&mut self, target: Target, mut command: Command) -> Answer<Vec<Outcome>, ExecError> {
        self.count("exec.run")?;
        let (host, permit) = match self.permit_exec("exec.run", &target, &[&command]) {
            Ok(permitted) => permitted,
            Err(denied) => return Ok(Err(ExecError::Denied(self.denied(denied)))),
        };
        let left = self.effects.as_ref().map_or(0, |effects| effects.exec_output_left);
        command.max_output = command.max_output.min(u32::try_from(left).unwrap_or(u32::MAX));
        let (most, limit) = (command.max_output as usize, seconds(command.timeout_seconds));
        let ran = within(limit, self.patience(), host.exec(permit, command)).await;
        let Some(Ok(mut outcomes)) = ran else {
            return Ok(self.heard(ran.unwrap_or(Err(ExecError::TimedOut))));
        };
        let mut left = usize::try_from(left).unwrap_or(usize::MAX);
        for outcome in &mut outcomes {
            for output in [&mut outcome.stdout, &mut outcome.stderr] {
                let most = most.min(left);
                outcome.truncated |= output.len() > most;
                output.truncate(most);
                left -= output.len();
            }
        }
        if let Some(effects) = &mut self.effects {
            effects.exec_output_left = left as u64;
        }
        Ok(Ok(outcomes))
    }
}
