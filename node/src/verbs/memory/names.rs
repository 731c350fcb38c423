//! Names: what a user calls a key, as the key that it is.

use chorus_protocol::ids::NodeId;
use chorus_protocol::memory::key::{BadKey, Key};

use crate::cli::Context;
use crate::cli::memory::{NameArgs, PrefixArgs};
use crate::error::Failure;
use crate::home;

const SHARED: &str = "shared/";
const OWN: &str = "own/";

/// The key of a name.
pub fn key(ctx: &Context, name: &NameArgs) -> Result<Key, Failure> {
    let own = own_node(ctx, name.own)?;
    key_of(&name.key, own.as_ref()).map_err(|why| refused(&name.key, why))
}

/// How the keys of a prefix begin; empty: they all do.
pub fn prefix(ctx: &Context, args: &PrefixArgs) -> Result<String, Failure> {
    let own = own_node(ctx, args.own)?;
    Ok(prefix_of(args.prefix.as_deref(), own.as_ref()))
}

fn own_node(ctx: &Context, own: bool) -> Result<Option<NodeId>, Failure> {
    match own {
        true => Ok(Some(home::load(&ctx.dir)?.identity.id())),
        false => Ok(None),
    }
}

fn key_of(name: &str, own: Option<&NodeId>) -> Result<Key, BadKey> {
    match own {
        Some(node) => Key::own(node, name),
        None if is_whole(name) => Key::new(name),
        // Else whoever gives a node's name would write what everybody may write.
        None if name.strip_prefix(OWN).is_some_and(|it| it.contains('/')) => Err(BadKey::Namespace),
        None => Key::shared(name),
    }
}

fn prefix_of(name: Option<&str>, own: Option<&NodeId>) -> String {
    let name = name.unwrap_or_default();
    match own {
        Some(node) => format!("{OWN}{node}/{name}"),
        None if name.is_empty() || name.starts_with(SHARED) || name.starts_with(OWN) => name.into(),
        None => format!("{SHARED}{name}"),
    }
}

/// Whether a name is a key already: `own/` counts only with a node, for a user may well call
/// something `own/ideas`.
fn is_whole(name: &str) -> bool {
    let node = |rest: &str| {
        Some((
            rest.len(),
            rest.as_bytes().iter().all(u8::is_ascii_hexdigit),
        ))
    };
    let of = |name: &str| node(name.strip_prefix(OWN)?.split_once('/')?.0);
    name.starts_with(SHARED) || of(name) == Some((64, true))
}

fn refused(name: &str, why: BadKey) -> Failure {
    Failure::usage("bad_key", format!("{name:?} is no key: {why}")).hint(
        "NAME means shared/NAME; --own makes it own/THIS NODE/NAME; of another node give the \
             64 digits of its key, which `chorus --json peers` prints",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shared_unless_it_says_otherwise() {
        let me = NodeId([0xab; 32]);
        let own = format!("own/{me}/x");
        let said = |name: &str, own| key_of(name, own).map(|key| key.to_string());
        for (name, key) in [
            ("plan", "shared/plan"),
            ("shared/plan", "shared/plan"),
            ("/plan", "shared//plan"),
            ("own/ideas", "shared/own/ideas"),
            ("own", "shared/own"),
            (&own, &own),
            ("ä \"b\"", "shared/ä \"b\""),
        ] {
            assert_eq!(said(name, None).as_deref(), Ok(key));
        }
        assert_eq!(said("x", Some(&me)), Ok(own.clone()));
        assert_eq!(
            said("shared/x", Some(&me)),
            Ok(format!("own/{me}/shared/x"))
        );
        assert_eq!(
            said(&own.to_uppercase().replace("OWN", "own"), None),
            Err(BadKey::Namespace)
        );
        assert_eq!(said("own/s1/x", None), Err(BadKey::Namespace));
        assert_eq!(said("", None), Err(BadKey::Empty));
        assert_eq!(said("a\nb", None), Err(BadKey::Control));
        let failure = refused("", BadKey::Empty);
        assert!(failure.exit == 2 && failure.message.contains("shared/NAME"));
    }

    #[test]
    fn a_prefix_may_be_a_part_of_a_namespace() {
        let me = NodeId([0xab; 32]);
        assert_eq!(prefix_of(None, None), "");
        assert_eq!(prefix_of(Some("pl"), None), "shared/pl");
        assert_eq!(prefix_of(Some("own/ab"), None), "own/ab");
        assert_eq!(prefix_of(Some("shared/"), None), "shared/");
        assert_eq!(prefix_of(None, Some(&me)), format!("own/{me}/"));
    }
}
