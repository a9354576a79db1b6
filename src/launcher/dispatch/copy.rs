//! What a copy of the launcher keeps of it: one connection, whose script it attends to.

use std::io;

use crate::launcher::{
    attendants::{Attendants, Role},
    dispatch::Launcher,
    end_with,
};

impl<L> Launcher<L> {
    /// In a copy of the launcher: goes on with this connection alone.
    pub(super) fn become_attendant(&mut self, launcher: u32, index: usize) -> io::Result<()> {
        self.role = Role::Attendant;
        let own = self.connections.swap_remove(index);
        for other in &mut self.connections {
            if let Some(child) = &mut other.child {
                child.disown();
            }
        }
        self.connections = vec![own];
        self.listener = None;
        self.attendants = Attendants::default();
        self.announcement = None;
        self.left.clear();
        self.signals.renew()?;
        end_with(launcher).map_err(io::Error::other)?;
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        Ok(())
    }
}
