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

mod choice;
mod content;
mod foreign;
mod handshake;
mod life;
mod ownership;
mod reset;

/// All of them.
#[cfg(feature = "root")]
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    [choice::ALL, content::ALL, foreign::ALL, handshake::ALL, life::ALL, ownership::ALL, reset::ALL]
        .into_iter()
        .flatten()
}
