//! Questions and answers, ours and those of others.

use std::collections::BTreeMap;

use chorus_protocol::ids::NodeId;
use libp2p::PeerId;
use libp2p::request_response::{
    Event as AskEvent, InboundRequestId, Message, OutboundFailure, OutboundRequestId,
    ResponseChannel,
};

use super::codec::Answer;
use super::counters::count;
use super::ids::{node_of, peer_of};
use super::runner::Runner;
use super::traffic::{Event, Reply, Why};

/// What is under way.
#[derive(Debug, Default)]
pub struct Asks {
    ours: BTreeMap<OutboundRequestId, Ours>,
    theirs: BTreeMap<InboundRequestId, Theirs>,
}

#[derive(Debug)]
struct Ours {
    id: u64,
    to: NodeId,
}

/// A peer's question that takes one of its slots until the answer is sent or too late.
#[derive(Debug)]
struct Theirs {
    from: NodeId,
    /// None once there is an answer.
    channel: Option<ResponseChannel<Answer>>,
}

impl Runner {
    pub(super) fn ask(&mut self, id: u64, to: NodeId, bytes: Vec<u8>) {
        let of_this = self.asks.ours.values().filter(|ours| ours.to == to).count();
        let why = if !self.members.contains(&to) {
            Why::NoMember
        } else if bytes.len() > self.limits.ask_bytes_max {
            Why::TooLarge
        } else if of_this >= self.limits.asks_per_peer
            || self.asks.ours.len() >= self.limits.under_way_max
        {
            Why::TooMany
        } else {
            let asks = &mut self.swarm.behaviour_mut().asks.inner;
            let request = asks.send_request(&peer_of(&to), bytes);
            self.asks.ours.insert(request, Ours { id, to });
            return;
        };
        count(&self.counters.orders_invalid);
        let (from, result) = (to, Err(why));
        self.out.send(Event::Answered { id, from, result });
    }

    pub(super) fn answer(&mut self, reply: Reply, bytes: Vec<u8>) {
        if bytes.len() > self.limits.ask_bytes_max {
            // The asker hears that there is no room instead of waiting.
            count(&self.counters.orders_invalid);
            return self.respond(reply.0, None);
        }
        self.respond(reply.0, Some(bytes));
    }

    fn respond(&mut self, request: InboundRequestId, answer: Answer) {
        let theirs = self.asks.theirs.get_mut(&request);
        let sent = theirs
            .and_then(|theirs| theirs.channel.take())
            .is_some_and(|channel| {
                let asks = &mut self.swarm.behaviour_mut().asks.inner;
                asks.send_response(channel, answer).is_ok()
            });
        if !sent {
            self.asks.theirs.remove(&request);
            count(&self.counters.answers_late);
        }
    }

    pub(super) fn ask_event(&mut self, event: AskEvent<Vec<u8>, Answer>) {
        match event {
            AskEvent::Message { peer, message, .. } => match message {
                Message::Request {
                    request_id,
                    request,
                    channel,
                } => self.asked(&peer, request_id, request, channel),
                Message::Response {
                    request_id,
                    response,
                } => self.ask_over(request_id, response.ok_or(Why::Busy)),
            },
            AskEvent::OutboundFailure {
                request_id, error, ..
            } => self.ask_over(request_id, Err(why(&error))),
            AskEvent::InboundFailure {
                peer,
                request_id,
                error,
                ..
            } => {
                self.asks.theirs.remove(&request_id);
                tracing::debug!(%peer, %error, "a question of a peer broke off");
                count(&self.counters.asks_broken);
            }
            AskEvent::ResponseSent { request_id, .. } => {
                self.asks.theirs.remove(&request_id);
            }
        }
    }

    fn ask_over(&mut self, request: OutboundRequestId, result: Result<Vec<u8>, Why>) {
        if let Some(Ours { id, to: from }) = self.asks.ours.remove(&request) {
            self.out.send(Event::Answered { id, from, result });
        }
    }

    fn asked(
        &mut self,
        peer: &PeerId,
        request: InboundRequestId,
        bytes: Vec<u8>,
        channel: ResponseChannel<Answer>,
    ) {
        let Some(from) = node_of(peer).filter(|node| self.members.contains(node)) else {
            return;
        };
        // libp2p says nothing of a question whose time ran out before it came up to here.
        let is_open = |theirs: &Theirs| theirs.channel.as_ref().is_none_or(|to| to.is_open());
        self.asks.theirs.retain(|_, theirs| is_open(theirs));
        let theirs = self.asks.theirs.values();
        let slots = theirs.filter(|theirs| theirs.from == from).count();
        let channel = Some(channel);
        self.asks.theirs.insert(request, Theirs { from, channel });
        if slots >= self.limits.asks_per_peer {
            count(&self.counters.asks_over_slots);
            return self.respond(request, None);
        }
        let reply = Reply(request);
        if self.out.send(Event::Asked { from, bytes, reply }) {
            count(&self.counters.asks_received);
        } else {
            self.respond(request, None);
        }
    }
}

fn why(error: &OutboundFailure) -> Why {
    match error {
        OutboundFailure::DialFailure => Why::Unreachable,
        OutboundFailure::Timeout => Why::Timeout,
        _ => Why::Broken,
    }
}
