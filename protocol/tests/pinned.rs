//! The answer of an enroller whose key a token pins: all that a joiner may take before it
//! has a roster.

use chorus_protocol::ids::{Incarnation, Stamp};
use chorus_protocol::trust::mesh_of;
use chorus_protocol::wire::envelope::{Receiver, Refusal, open, seal};
use chorus_protocol::wire::identity::PublicKey;
use chorus_protocol::wire::message::{Channel, Enrol, Items, Message, Refused};
use chorus_protocol::wire::{Identity, Signer};

fn identity(seed: u8) -> Identity {
    Identity::from_seed(&[seed; 32])
}

/// What a joiner that pins key 1 makes of `message` by `signer`, come over `channel`.
fn opened(signer: &Identity, message: &Message, channel: Channel) -> Result<Message, Refusal> {
    let (enroller, joiner) = (identity(1), identity(2));
    let mesh = mesh_of(&identity(9).id());
    let stamp = Stamp {
        // Enrolled again before: a joiner cannot know the floor.
        incarnation: Incarnation::new(3, 4),
        lamport: 5,
    };
    let frame = seal(signer, &mesh, stamp, None, message);
    let key = PublicKey::new(&enroller.id()).unwrap();
    let receiver = Receiver {
        mesh: &mesh,
        node: &joiner.id(),
        incarnation: Incarnation::new(0, 0),
    };
    let pinned = |_: &_| Signer::Pinned(&key);
    open(&frame, channel, None, receiver, pinned).map(|verified| verified.message)
}

#[test]
fn a_pinned_enroller_may_welcome_or_refuse_and_nothing_else() {
    let refused = Message::Refused(Refused {
        code: "token_used".into(),
        reason: "the token has been used up".into(),
    });
    for message in [Message::Welcome(Items::default()), refused] {
        let answer = opened(&identity(1), &message, Channel::Door);
        assert_eq!(answer, Ok(message));
    }
    let enrol = Message::Enrol(Enrol {
        token: vec![1],
        curve: chorus_protocol::ids::CurveKey([1; 32]),
        name: None,
    });
    for message in [enrol, Message::Introduced] {
        let answer = opened(&identity(1), &message, Channel::Door);
        assert_eq!(answer, Err(Refusal::Unknown));
    }
}

#[test]
fn a_pin_holds_at_the_door_and_for_its_own_key_alone() {
    let welcome = Message::Welcome(Items::default());
    let forged = opened(&identity(3), &welcome, Channel::Door);
    assert_eq!(forged, Err(Refusal::Forged));
    let elsewhere = opened(&identity(1), &Message::StampAsk, Channel::Link);
    assert_eq!(elsewhere, Err(Refusal::Unknown));
}
