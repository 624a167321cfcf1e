//! Who may do what on the control socket.
//!
//! Reading needs no rule: whoever could open the socket, or was let to the TCP listener, may read.

use nix::unistd::{Gid, Uid, User, getgrouplist};

use super::Caller;

/// Who may write besides root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operators {
    /// The user the daemon runs as.
    pub(super) uid: u32,
    /// The socket's group, when one is configured.
    pub(super) gid: Option<u32>,
}

/// Whether this caller, whose account is in these groups besides its primary one, may write.
pub(super) fn may_write(caller: Caller, groups: &[u32], operators: Operators) -> bool {
    match caller {
        Caller::Network(_) => false,
        Caller::Process { uid, gid, .. } => {
            uid == 0
                || uid == operators.uid
                || operators.gid.is_some_and(|operator| gid == operator || groups.contains(&operator))
        }
    }
}

/// The groups of the caller's account. The socket tells only the primary one, and operators are usually in the
/// group as a supplementary one. Asks the account database, which may block.
pub(super) fn groups(caller: Caller) -> Vec<u32> {
    let Caller::Process { uid, gid, .. } = caller else { return Vec::new() };
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else { return Vec::new() };
    let Ok(name) = std::ffi::CString::new(user.name) else { return Vec::new() };
    getgrouplist(&name, Gid::from_raw(gid)).unwrap_or_default().into_iter().map(Gid::as_raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAEMON: u32 = 900;
    const GROUP: u32 = 901;

    fn process(uid: u32, gid: u32) -> Caller {
        Caller::Process { uid, gid, pid: Some(1) }
    }

    #[test]
    fn only_root_the_daemons_user_and_operators_write() {
        let network = Caller::Network(([127, 0, 0, 1], 9).into());
        let with_group = Operators { uid: DAEMON, gid: Some(GROUP) };
        let without = Operators { uid: DAEMON, gid: None };
        for (case, caller, groups, operators, allowed) in [
            ("root", process(0, 0), &[][..], without, true),
            ("the daemon's user", process(DAEMON, 5), &[], without, true),
            ("primary group", process(1000, GROUP), &[], with_group, true),
            ("supplementary group", process(1000, 1000), &[27, GROUP], with_group, true),
            ("another user", process(1000, 1000), &[27], with_group, false),
            ("root's group is not root", process(1000, 0), &[0], with_group, false),
            ("no operator group", process(1000, GROUP), &[GROUP], without, false),
            ("the network", network, &[0, GROUP], with_group, false),
        ] {
            assert_eq!(may_write(caller, groups, operators), allowed, "{case}");
        }
    }

    #[test]
    fn the_account_database_knows_roots_group() {
        assert!(groups(process(0, 0)).contains(&0));
        assert!(groups(process(u32::MAX - 7, 0)).is_empty());
    }
}
