//! What is left of scripts where it must not be: a script of the launcher's own user can go out of its
//! control group into another, make one beside its own, or end its attendant.

use std::{collections::HashSet, ffi::OsStr, io};

use rustix::process::{Signal, kill_process};

use crate::launcher::{
    dispatch::Launcher,
    groups::{Group, Groups},
};

impl<L> Launcher<L> {
    /// Ends all that is in no group of a script, once a child has ended: what is nobody's then has come
    /// to this process.
    ///
    /// What is killed is a child of this process in the end, too, and so this is done until nothing is
    /// left to be killed.
    pub(super) fn end_strays(&self) -> io::Result<()> {
        let children = self.connections.iter().filter_map(|one| one.child.as_ref());
        let (scripts, groups): (Vec<_>, Vec<_>) =
            children.map(|child| (child.pid(), child.group())).unzip();
        let groups = groups.into_iter().flatten().chain(&self.left);
        let groups = groups.filter(|group| !group.is_gone()).map(Group::name);
        let groups: HashSet<&OsStr> = groups.chain(self.attendants.groups()).collect();
        // Whether the group of an attendant's script is there is for the attendant to know.
        let is_dirty =
            |own: &&Groups| self.attendants.count() > 0 || own.may_have_others(groups.len());
        if let Some(own) = self.groups.as_ref().filter(is_dirty) {
            own.end_others(&groups);
        }
        for child in self.family.children()? {
            let number = child.as_raw_nonzero().get().unsigned_abs();
            let is_held = || {
                let own = self.groups.as_ref();
                own.is_some_and(|own| own.hold(number, &groups))
            };
            if !scripts.contains(&child) && !self.attendants.has(child) && !is_held() {
                tracing::warn!("process {number} has got away from its script, and is killed");
                let _ = kill_process(child, Signal::KILL);
            }
        }
        Ok(())
    }
}
