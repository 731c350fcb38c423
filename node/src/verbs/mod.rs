//! Verbs: one file for each thing that can be asked.

pub mod bench;
pub mod checkpoint;
pub mod config;
pub mod conflicts;
pub mod demo;
pub mod doctor;
pub mod inbox;
pub mod init;
pub mod invite;
pub mod join;
pub mod memory;
pub mod operations;
pub mod peers;
mod recall;
pub mod revoke;
pub mod run;
pub mod status;
pub mod timeline;
pub mod up;

use chorus_actors::transport::sockets::CurveKeys;
use chorus_protocol::ids::{Label, Place};
use chorus_protocol::wire::Identity;

use crate::chance;
use crate::cli::{Context, NetArgs};
use crate::error::Failure;
use crate::settings::Settings;

/// A value of the command line that is not what it must be.
fn bad_flag(flag: &str, value: &str, allowed: impl std::fmt::Display) -> Failure {
    let message = format!("{flag} {value}: {allowed}");
    Failure::usage("bad_flag", message)
}

/// The value of a flag, read by its type's own rules.
fn read<T: std::str::FromStr<Err: std::fmt::Display>>(
    flag: &str,
    value: &str,
) -> Result<T, Failure> {
    value.parse().map_err(|why| bad_flag(flag, value, why))
}

fn place(sector: &str, cluster: &str) -> Result<Place, Failure> {
    Ok(Place {
        sector: read::<Label>("--sector", sector)?,
        cluster: read::<Label>("--cluster", cluster)?,
    })
}

/// A new node's keys.
fn new_keys() -> Result<(Identity, CurveKeys), Failure> {
    let curve = CurveKeys::generate()
        .map_err(|why| Failure::failed("no_keys", format!("no link key could be made: {why}")))?;
    Ok((new_identity()?, curve))
}

fn new_identity() -> Result<Identity, Failure> {
    Ok(Identity::from_seed(&chance::bytes()?))
}

/// The text of a new home's `chorus.toml`: the settings that were given, and
/// nothing else. They are checked together with the other layers first.
fn new_config(ctx: &Context, net: &NetArgs) -> Result<String, Failure> {
    let mut ctx = ctx.clone();
    let mut text = String::from(
        "# The configuration of this node. `chorus config show` prints every setting with its\n\
         # value and where that comes from; what is not here has its default.\n",
    );
    if net.listen.is_none() && net.advertise.is_empty() {
        Settings::load(&ctx)?;
        return Ok(text);
    }
    text.push_str("\n[net]\n");
    if let Some(listen) = &net.listen {
        text.push_str(
            "# ROUTER listens here, PUB one port up, SUB two, the door four; port 0 chooses all.\n",
        );
        text.push_str(&format!(
            "listen = {}\n",
            toml::Value::String(listen.clone())
        ));
        ctx.overrides.push(("net.listen".into(), listen.clone()));
    }
    if !net.advertise.is_empty() {
        let hosts = net.advertise.iter().cloned().map(toml::Value::String);
        let hosts = toml::Value::Array(hosts.collect());
        text.push_str("# By what others reach this node, best first.\n");
        text.push_str(&format!("advertise = {hosts}\n"));
        ctx.overrides
            .push(("net.advertise".into(), net.advertise.join(",")));
    }
    Settings::load(&ctx)?;
    let written = chorus_storage::Home::at(&ctx.dir).config();
    // The same words again go on with what a kill had cut off.
    if written.exists()
        && !std::fs::read_to_string(written).is_ok_and(|there| there.ends_with(&text))
    {
        let message = "there is a chorus.toml in this home already; --listen and --advertise would not be heeded";
        return Err(Failure::usage("config_exists", message)
            .hint("put `listen` and `advertise` under [net] in that file instead"));
    }
    Ok(text)
}
