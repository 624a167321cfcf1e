//! The table of cases as sentences. Each is tried on the host here, and in the kernel by `kernel`.

#[cfg(feature = "root")]
use crate::lab::Lab;

/// A case by its name.
#[cfg(feature = "root")]
pub(crate) type Case = (&'static str, fn(&mut Lab<'_>));

/// Makes each function a test on the host and an element of `ALL`.
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        #[cfg(feature = "root")]
        pub(crate) const ALL: &[crate::cases::Case] = &[$((stringify!($name), $name)),+];

        mod on_host {
            $(#[test]
            fn $name() {
                super::$name(&mut crate::lab::Lab::on_host());
            })+
        }
    };
}

mod answers;
mod choice;
mod content;
mod errors;
mod foreign;
mod fragments;
mod hairpin;
mod handshake;
mod life;
mod marks;
mod ownership;
mod persistence;
mod replies;
mod reset;
mod virtual_mac;
mod vlan;

/// All of them.
#[cfg(feature = "root")]
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    let all = [
        answers::ALL,
        choice::ALL,
        content::ALL,
        errors::ALL,
        foreign::ALL,
        fragments::ALL,
        hairpin::ALL,
        handshake::ALL,
        life::ALL,
        marks::ALL,
        ownership::ALL,
        persistence::ALL,
        replies::ALL,
        reset::ALL,
        virtual_mac::ALL,
        vlan::ALL,
    ];
    all.into_iter().flatten()
}
