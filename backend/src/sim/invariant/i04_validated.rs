//! I4: nothing of a batch is seen outside before it is validated.
//!
//! Whatever is seen goes through [`super::Witness::on_shown`], which remembers it; a batch that was seen too early and is
//! then lost, or whose number another batch takes, contradicts what a later owner recovers (`i01_acknowledged`,
//! `i06_rollback`). So this invariant is checked by its consequences: there is no other way to see it from outside.
