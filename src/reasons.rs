//! Typed reasons: their names are what conditions, events and metrics say.

/// Makes the enum `Reason`: first what it is for, then the reasons, each with its meaning as doc comment.
macro_rules! reasons {
    ($about:literal; $($(#[doc = $doc:literal])* $name:ident,)*) => {
        #[doc = $about]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[doc = $doc])* $name,)* }
        impl Reason {
            /// All of them, for docs and metrics.
            pub const ALL: &[Reason] = &[$(Reason::$name,)*];
            /// CamelCase name.
            pub fn as_str(self) -> &'static str { match self { $(Reason::$name => stringify!($name),)* } }
            /// What it means, in one line.
            pub fn meaning(self) -> &'static str { match self { $(Reason::$name => concat!($($doc,)*).trim_ascii(),)* } }
        }
    };
}
pub(crate) use reasons;
