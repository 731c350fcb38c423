//! Chance: bytes that nobody can foresee.

use crate::error::Failure;

/// So many of them, from the system.
pub fn bytes<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|why| {
        let message = format!("the system gives no randomness: {why}");
        Failure::failed("no_randomness", message)
    })?;
    Ok(bytes)
}
