//! The exact mean field as partial sums that travel up the tree and come down whole.
//!
//! z = Σ w·e^{iθ} / Σ w over the live nodes is a sum, so any tree of partial
//! sums gives what the double sum gives (rows B5, B6; `z` divides by the *live*
//! weight, never by how many there once were). A sum describes the moment `age`
//! ago; Σω travels with it so that whoever uses it can turn it to now by
//! Ω = Σω/Σw. Without that turn the age acts as a phase lag: a mesh of three
//! thousand at 0.3 s never locks.
//!
//! Invariants: a sum built here has |Σ w·e^{iθ}| ≤ Σ w ≤ members. One that came
//! over a wire has them only after [`PartialSum::check`].

use serde::{Deserialize, Serialize};

pub use super::scope::{Locking, Refused, Scope, Sum};
use crate::units::{Micros, wrap};

/// A complex number; here mostly Σ w·e^{iθ} or its mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Complex {
    /// The real part.
    pub re: f64,
    /// The imaginary part.
    pub im: f64,
}

impl Complex {
    /// Nothing: no coupling.
    pub const ZERO: Complex = Complex { re: 0.0, im: 0.0 };

    /// `radius`·e^{i`angle`}, the angle in radians.
    pub fn polar(radius: f64, angle: f64) -> Self {
        let (sin, cos) = angle.sin_cos();
        Self {
            re: radius * cos,
            im: radius * sin,
        }
    }
    /// |z|.
    pub fn abs(self) -> f64 {
        self.re.hypot(self.im)
    }
    /// arg z in (−π, π].
    pub fn arg(self) -> f64 {
        self.im.atan2(self.re)
    }
    /// z·e^{i`angle`}.
    pub fn turned(self, angle: f64) -> Self {
        let (sin, cos) = angle.sin_cos();
        Self {
            re: self.re * cos - self.im * sin,
            im: self.re * sin + self.im * cos,
        }
    }
}

/// A mean field as a function of time: `z` at the moment `at`, turning with `omega`.
///
/// Its owner drops it when it is older than the phase TTL; it does not expire by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Field {
    /// The mean field at `at`, |z| ≤ 1.
    pub z: Complex,
    /// How fast it turns, rad/s.
    pub omega: f64,
    /// When it was `z`, by the local monotonic clock.
    pub at: Micros,
}

impl Field {
    /// The field at `now`, turned on (or back, for a moment before `at`).
    pub fn at(&self, now: Micros) -> Complex {
        let span_s = now.since(self.at).as_secs_f64() - self.at.since(now).as_secs_f64();
        self.z.turned(self.omega * span_s)
    }
}

/// What some set of nodes contributes to the mean field. Its wire form is named MessagePack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PartialSum {
    /// Σ w over the contributors, each w in [0, 1].
    pub weight: f64,
    /// Re Σ w·e^{iθ}.
    pub re: f64,
    /// Im Σ w·e^{iθ}.
    pub im: f64,
    /// Σ w·ω, rad/s.
    pub sum_omega: f64,
    /// How many live nodes contribute, whatever their weight.
    pub members: u32,
    /// How long ago the contributors stood at these phases.
    #[serde(rename = "age_us")]
    pub age: Micros,
    /// The newest Lamport time among the contributors' frames.
    pub lamport: u64,
}

/// Why a sum from a peer is refused. Nothing has been applied; the peer is at fault.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum BadSum {
    /// NaN or an infinity.
    #[error("the sum's `{0}` is not a finite number")]
    NotFinite(&'static str),
    /// Σ w is negative or more than one for each member.
    #[error("a sum of {members} members cannot weigh {weight}")]
    Weight {
        /// What it says it weighs.
        weight: f64,
        /// How many members it says it has.
        members: u32,
    },
    /// |Σ w·e^{iθ}| is more than Σ w.
    #[error("a sum of weight {weight} cannot have the length {length}")]
    Length {
        /// |Σ w·e^{iθ}| as sent.
        length: f64,
        /// Σ w as sent.
        weight: f64,
    },
    /// |Ω| is beyond the bound on phase velocity.
    #[error("a mean frequency of {omega} rad/s is beyond {omega_max} rad/s")]
    Omega {
        /// Σ w·ω / Σ w as sent.
        omega: f64,
        /// The bound that it was held against.
        omega_max: f64,
    },
}

/// Rounding that honest sums of tens of thousands of nodes stay far below.
const ROUNDING: f64 = 1e-9;

impl PartialSum {
    /// The sum over nobody.
    pub fn zero() -> Self {
        Self::default()
    }

    /// One node, now: its phase in radians, its natural frequency in rad/s, its weight in [0, 1].
    pub fn of(theta: f64, omega: f64, weight: f64) -> Self {
        let z = Complex::polar(weight, theta);
        Self {
            weight,
            re: z.re,
            im: z.im,
            sum_omega: weight * omega,
            members: 1,
            age: Micros::ZERO,
            lamport: 0,
        }
    }

    /// Adds what `other` holds, after turning it to this sum's moment by its own Ω.
    /// For parts of several ages [`PartialSum::merged`] is better: it turns by the Ω of all.
    pub fn add(&mut self, other: &PartialSum) {
        let forward = other.age.since(self.age).as_secs_f64();
        let back = self.age.since(other.age).as_secs_f64();
        self.add_turned(other, other.mean_omega() * (forward - back));
    }

    fn add_turned(&mut self, other: &PartialSum, angle: f64) {
        let z = other.vector().turned(angle);
        self.weight += other.weight;
        self.re += z.re;
        self.im += z.im;
        self.sum_omega += other.sum_omega;
        self.members = self.members.saturating_add(other.members);
        self.lamport = self.lamport.max(other.lamport);
    }

    /// The sum of all `parts`, as of now (age zero).
    ///
    /// Every part is turned by Ω of the whole, not by its own: locked nodes all
    /// move with Ω, and turning each by its own ω would spread what is locked.
    pub fn merged<'a>(parts: impl IntoIterator<Item = &'a PartialSum> + Clone) -> Self {
        let (mut weight, mut sum_omega) = (0.0, 0.0);
        for part in parts.clone() {
            weight += part.weight;
            sum_omega += part.sum_omega;
        }
        let omega = if weight > 0.0 {
            sum_omega / weight
        } else {
            0.0
        };
        Self::merged_at(parts, omega)
    }

    /// The same, where more is known than these parts: all are turned by `omega`, rad/s, the
    /// frequency of the mesh that they are locked to.
    pub fn merged_at<'a>(parts: impl IntoIterator<Item = &'a PartialSum>, omega: f64) -> Self {
        let mut whole = Self::zero();
        for part in parts {
            whole.add_turned(part, omega * part.age.as_secs_f64());
        }
        whole
    }

    /// The same nodes, counted with `weight` in [0, 1] more caution. Members stay members.
    pub fn scaled(mut self, weight: f64) -> Self {
        self.weight *= weight;
        self.re *= weight;
        self.im *= weight;
        self.sum_omega *= weight;
        self
    }

    /// The same sum after it was held, or travelled, for `span`: older, not turned.
    pub fn aged(mut self, span: Micros) -> Self {
        self.age = self.age + span;
        self
    }

    /// Where these nodes stand `span` after the moment the sum describes: z·e^{iΩ·span}.
    /// The age falls by `span`; `rotated(self.age)` brings the sum to now.
    pub fn rotated(mut self, span: Micros) -> Self {
        let z = self.vector().turned(self.mean_omega() * span.as_secs_f64());
        (self.re, self.im) = (z.re, z.im);
        self.age = self.age - span;
        self
    }

    /// Σ w·e^{iθ}.
    pub fn vector(&self) -> Complex {
        Complex {
            re: self.re,
            im: self.im,
        }
    }

    /// z = Σ w·e^{iθ} / Σ w, `age` ago; none when nobody is in the sum.
    pub fn mean_field(&self) -> Option<Complex> {
        (self.weight > 0.0).then(|| Complex {
            re: self.re / self.weight,
            im: self.im / self.weight,
        })
    }

    /// The order parameter r = |z| in [0, 1]; 0 when nobody is in the sum.
    pub fn order(&self) -> f64 {
        self.mean_field().map_or(0.0, |z| z.abs().min(1.0))
    }

    /// arg z in [0, 2π), `age` ago; 0 when nobody is in the sum.
    pub fn mean_phase(&self) -> f64 {
        wrap(self.vector().arg())
    }

    /// Ω = Σ w·ω / Σ w in rad/s; 0 when nobody is in the sum.
    pub fn mean_omega(&self) -> f64 {
        if self.weight > 0.0 {
            self.sum_omega / self.weight
        } else {
            0.0
        }
    }

    /// The mean field as a function of time, turned to `now`.
    pub fn field(&self, now: Micros) -> Option<Field> {
        let z = self.rotated(self.age).mean_field()?;
        Some(Field {
            z,
            omega: self.mean_omega(),
            at: now,
        })
    }

    /// Refuses what no honest sum can be. `omega_max` is the bound on phase
    /// velocity in rad/s. It cannot tell a liar who stays possible: how many
    /// members a sender may speak for is the roster's to say.
    pub fn check(&self, omega_max: f64) -> Result<(), BadSum> {
        for (name, value) in [
            ("weight", self.weight),
            ("re", self.re),
            ("im", self.im),
            ("sum_omega", self.sum_omega),
        ] {
            if !value.is_finite() {
                return Err(BadSum::NotFinite(name));
            }
        }
        let (weight, members) = (self.weight, self.members);
        if weight < 0.0 || weight > f64::from(members) * (1.0 + ROUNDING) {
            return Err(BadSum::Weight { weight, members });
        }
        let length = self.vector().abs();
        if length > weight * (1.0 + ROUNDING) {
            return Err(BadSum::Length { length, weight });
        }
        // Multiplied out, so that a sum of no weight may carry no frequency either.
        if self.sum_omega.abs() > weight * omega_max * (1.0 + ROUNDING) {
            let omega = self.sum_omega / weight;
            return Err(BadSum::Omega { omega, omega_max });
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "field_tests.rs"]
mod tests;
