//! Types of frames (PROTOCOL.md, "Wire").

macro_rules! frame_types {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// What a frame carries.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum FrameType { $($(#[$doc])* $name = $code,)* }

        impl FrameType {
            pub(crate) fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }

        impl std::fmt::Display for FrameType {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$name => stringify!($name),)* })
            }
        }
    };
}

frame_types! {
    /// Device opens a session.
    Open = 1,
    /// Edge accepts it.
    Opened = 2,
    /// Device asks edge A for a counter.
    Claim = 3,
    /// Edge A grants it.
    Claimed = 4,
    /// Device asks edge A for an inference's answers before it claims the counter.
    Prefetch = 5,
    /// Device begins an inference on a stream of its own.
    Infer = 6,
    /// Device uploads the shares of a round to edge B, or asks edge A for its answer (mode `relay`).
    Round = 7,
    /// Edge answers a round.
    Answer = 8,
    /// Device is done with the inference.
    End = 9,
    /// Edge is out of places for this inference; retry later.
    Busy = 10,
    /// Edge A introduces a session to edge B.
    RelayOpen = 16,
    /// Edge B allows corrections.
    Credit = 17,
    /// Edge A's correction of a round.
    Correction = 18,
    /// Edge A withdraws an inference's corrections.
    Drop = 19,
    /// Edge B has no correction of a round: the answer that follows is `W·v`.
    Miss = 20,
    /// Edge A gives credit and corrections of a session back while its device rests.
    Rest = 21,
}
