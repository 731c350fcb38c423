//! `init`: a new mesh, and its first node, which may enrol others.

use chorus_protocol::ids::{Label, NodeId, Place, Role};
use chorus_protocol::trust::{found, mesh_of};
use chorus_storage::Home;
use serde_json::json;

use super::{bad_flag, new_config, new_identity, new_keys, place, read};
use crate::cli::{Context, InitArgs};
use crate::error::Failure;
use crate::home::{self, Founding};

/// A mesh that was just made, and its first node.
#[derive(Debug)]
pub struct Made {
    mesh_name: Label,
    root: NodeId,
    node: NodeId,
    name: Label,
    role: Role,
    place: Place,
}

/// Makes the mesh and the home of its first node.
pub fn make(ctx: &Context, args: &InitArgs) -> Result<Made, Failure> {
    let mesh_name: Label = read("--mesh", &args.mesh)?;
    let name: Label = read("--name", &args.name)?;
    let role: Role = read("--role", &args.role)?;
    if role == Role::Agent {
        let allowed = "an agent is above nobody, and nobody could join beneath this node; \
                       allowed is orchestrator, coordinator or lead";
        return Err(bad_flag("--role", &args.role, allowed));
    }
    let place = place(&args.sector, &args.cluster)?;
    let home = Home::at(&ctx.dir);
    home::refuse_used(&home)?;
    let config = new_config(ctx, &args.net)?;

    let root = new_identity()?;
    let (identity, curve) = new_keys()?;
    let link = chorus_protocol::ids::CurveKey(curve.public);
    let items = found(&root, identity.id(), link, name, role, place);
    let founding = Founding {
        identity: &identity,
        curve: &curve,
        root: root.id(),
        root_key: Some(&root),
        config: &format!("# Mesh `{mesh_name}`.\n{config}"),
    };
    home::make(&home, &founding, |_| Ok(items))?;
    Ok(Made {
        mesh_name,
        root: root.id(),
        node: identity.id(),
        name,
        role,
        place,
    })
}

pub fn run(ctx: &Context, args: &InitArgs) -> Result<(), Failure> {
    let Made {
        mesh_name,
        root,
        node,
        name,
        role,
        place,
    } = make(ctx, args)?;
    let home = Home::at(&ctx.dir);
    let dir = ctx.dir.display();
    let answer = json!({
        "schema": "chorus.init/1",
        "dir": ctx.dir,
        "mesh": mesh_of(&root).to_string(),
        "mesh_name": mesh_name.as_str(),
        "node": node.to_string(),
        "name": name.as_str(),
        "role": role.as_str(),
        "sector": place.sector.as_str(),
        "cluster": place.cluster.as_str(),
        "root_key": home.root_key(),
    });
    let words = format!(
        "mesh {mesh_name} is made; {name} ({role}) lives in {dir}\n\
         keep {} safe, best offline: whoever has it owns the mesh\n\
         next: chorus --dir {dir} run",
        home.root_key().display(),
    );
    ctx.answer(&answer, &words)
}
