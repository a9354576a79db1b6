//! Users of this machine, by name, as `user` names them: with the rules of Apache's suexec about
//! whom scripts may run as.

use std::ffi::CString;

use nix::unistd::{User, getgrouplist};

use crate::{cgi::Account, config::findings::Mistake};

/// Smaller ids belong to the system's own parts.
const LEAST_ID: u32 = 100;

/// The account of this name; fails for one that scripts may not run as.
pub(super) fn account(name: &str) -> Result<Account, Mistake> {
    let found = User::from_name(name)
        .map_err(|error| Mistake::new(format!("user {name:?} cannot be looked up: {error}")))?;
    let Some(user) = found else {
        let mistake = Mistake::new(format!("there is no user {name:?}"));
        let is_name = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
        return Err(mistake.help(if is_name {
            format!("adduser --system --group {name}")
        } else {
            "write the name of a user of this machine".to_owned()
        }));
    };
    let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
    if uid < LEAST_ID || gid < LEAST_ID {
        let message = format!("scripts do not run as user {name:?}, whose ids are {uid} and {gid}");
        let help = format!("name one whose user id and group id are at least {LEAST_ID}");
        return Err(Mistake::new(message).help(help));
    }
    let groups = CString::new(name)
        .map_err(|_| nix::Error::EINVAL)
        .and_then(|name| getgrouplist(&name, user.gid));
    let groups = groups.map_err(|error| {
        Mistake::new(format!(
            "the groups of user {name:?} cannot be looked up: {error}"
        ))
    })?;
    Ok(Account {
        name: name.into(),
        uid,
        gid,
        groups: groups.into_iter().map(nix::unistd::Gid::as_raw).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_run_neither_as_root_nor_as_a_part_of_the_system() {
        for name in ["root", "daemon"] {
            let message = account(name).unwrap_err().message;
            assert!(message.contains("do not run as"), "{message}");
        }
    }

    #[test]
    fn an_unknown_user_is_told() {
        for name in ["no-such-user-here", "", "a\0b"] {
            assert!(account(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn an_account_has_its_ids_and_groups() {
        let nobody = account("nobody").unwrap();
        assert!(nobody.uid >= LEAST_ID);
        assert!(nobody.groups.contains(&nobody.gid));
    }
}
