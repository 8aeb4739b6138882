//! Spans of a pass: a trace with observe, decide, act (its steps) and report below it, for the feature `otel`. They are at DEBUG, so
//! that without it they cost a look at a flag.

use tracing::Span;
use tracing::field::Empty;

/// One pass over a pair or a plan; what is decided is noted by [`decided`].
pub fn pass(kind: &'static str, namespace: &str, name: &str) -> Span {
    tracing::debug_span!("pass", otel.name = kind, namespace, name, epoch = Empty, reason = Empty, message = Empty, steps = Empty, surprise = Empty, told = Empty)
}

/// A part of a pass: `observe`, `decide`, `act`, `report`.
pub fn part(name: &'static str) -> Span {
    tracing::debug_span!("part", otel.name = name)
}

/// A step that is carried out.
pub fn step(name: &'static str, epoch: i64) -> Span {
    tracing::debug_span!("step", otel.name = name, epoch)
}

/// Notes what was decided in the pass. `before`: the reason of the last one. A trace with no steps and no other reason isn't sent.
pub fn decided(epoch: i64, reason: &str, message: &str, steps: &[&'static str], before: Option<&str>) {
    let span = Span::current();
    if span.is_disabled() {
        return;
    }
    span.record("epoch", epoch).record("reason", reason).record("message", message).record("steps", steps.join(","));
    if !steps.is_empty() || before != Some(reason) {
        span.record("told", true);
    }
}

/// Notes what stopped the pass.
pub fn surprised(surprise: &dyn std::fmt::Display) {
    Span::current().record("surprise", tracing::field::display(surprise)).record("told", true);
}
