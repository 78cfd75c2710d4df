//! What an edge counts, for `/metrics`. Every edge has a registry of its own, so several fit in one process.

use std::sync::Arc;
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use twinmask_transport::{Identity, RevocationList};

use crate::role::Role;

/// Upper bounds of the histograms' buckets, seconds.
const BUCKETS_S: [f64; 12] = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];

/// Counters, gauges and histograms of one edge; all carry the label `role`.
pub(crate) struct Meters {
    pub(crate) sessions: Gauge,
    pub(crate) sessions_total: Counter,
    pub(crate) in_flight: Gauge,
    pub(crate) inferences: Counter,
    pub(crate) rounds: Counter,
    pub(crate) models: Gauge,
    /// Edge A: bytes set aside for what is computed ahead of time.
    pub(crate) ahead_bytes: Gauge,
    /// Bytes set aside for inferences that run.
    pub(crate) flight_bytes: Gauge,
    /// Bytes that connections of devices may buffer.
    pub(crate) buffer_bytes: Gauge,
    /// Edge A: rounds that were there when their inference came to them.
    pub(crate) ahead_used: Counter,
    /// Corrections sent by edge A or taken by edge B.
    pub(crate) corrections: Counter,
    /// Edge B: bytes set aside for corrections.
    pub(crate) relay_bytes: Gauge,
    /// Edge B: rounds answered without a correction; edge A: rounds that it answered for that.
    pub(crate) misses: Counter,
    /// Whether the other edge is connected.
    pub(crate) peer: Gauge,
    /// End of the edge's certificate, seconds since 1970.
    not_after: Gauge,
    /// When the revocation list should be replaced, seconds since 1970; 0 without a list.
    next_update: Gauge,
    bytes_in: Counter,
    bytes_out: Counter,
    queue_wait: Histogram,
    compute: Histogram,
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
}

impl Meters {
    pub(crate) fn new(role: Role) -> Meters {
        let builder = PrometheusBuilder::new().add_global_label("role", role.to_string());
        let recorder = builder.set_buckets(&BUCKETS_S).expect("the list of buckets is not empty").build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe_gauge!("twinmask_sessions", "Sessions that are open.");
            describe_counter!("twinmask_sessions_total", "Sessions that were opened.");
            describe_gauge!("twinmask_inferences_in_flight", "Inferences that are being answered.");
            describe_counter!("twinmask_inferences_total", "Inferences that were answered to the end.");
            describe_counter!("twinmask_rounds_total", "Rounds that were answered.");
            describe_gauge!("twinmask_models", "Models that are served.");
            describe_gauge!("twinmask_ahead_bytes", "Bytes set aside for what is computed ahead of time (edge A).");
            describe_gauge!("twinmask_flight_bytes", "Bytes set aside for uploads and answers of inferences that run.");
            describe_gauge!("twinmask_buffer_bytes", "Bytes that connections of devices may buffer.");
            describe_counter!("twinmask_ahead_used_total", "Rounds that were computed ahead of time (edge A).");
            describe_counter!("twinmask_corrections_total", "Corrections sent (edge A) or taken (edge B) in relay.");
            describe_gauge!("twinmask_relay_bytes", "Bytes set aside for corrections (edge B).");
            describe_counter!(
                "twinmask_relay_misses_total",
                "Rounds in relay that fell back: answered without a correction (edge B), or for that (edge A)."
            );
            describe_gauge!("twinmask_peer_connected", "Whether the other edge is connected.");
            describe_gauge!("twinmask_certificate_not_after_seconds", "End of the edge's certificate, since 1970.");
            describe_gauge!(
                "twinmask_revocation_list_next_update_seconds",
                "When the revocation list should be replaced by a newer one, since 1970; 0 without a list."
            );
            describe_counter!("twinmask_bytes_total", "UDP payload bytes of sessions, by direction.");
            describe_histogram!("twinmask_queue_wait_seconds", "Time that a round waited for a compute thread.");
            describe_histogram!("twinmask_compute_seconds", "Time that a round was computed.");
            describe_counter!(
                "twinmask_refused_total",
                "Connections, sessions and inferences refused or ended early, by reason."
            );
        });
        let new = |recorder| Meters {
            sessions: gauge!("twinmask_sessions"),
            sessions_total: counter!("twinmask_sessions_total"),
            in_flight: gauge!("twinmask_inferences_in_flight"),
            inferences: counter!("twinmask_inferences_total"),
            rounds: counter!("twinmask_rounds_total"),
            models: gauge!("twinmask_models"),
            ahead_bytes: gauge!("twinmask_ahead_bytes"),
            flight_bytes: gauge!("twinmask_flight_bytes"),
            buffer_bytes: gauge!("twinmask_buffer_bytes"),
            ahead_used: counter!("twinmask_ahead_used_total"),
            corrections: counter!("twinmask_corrections_total"),
            relay_bytes: gauge!("twinmask_relay_bytes"),
            misses: counter!("twinmask_relay_misses_total"),
            peer: gauge!("twinmask_peer_connected"),
            not_after: gauge!("twinmask_certificate_not_after_seconds"),
            next_update: gauge!("twinmask_revocation_list_next_update_seconds"),
            bytes_in: counter!("twinmask_bytes_total", "direction" => "in"),
            bytes_out: counter!("twinmask_bytes_total", "direction" => "out"),
            queue_wait: histogram!("twinmask_queue_wait_seconds"),
            compute: histogram!("twinmask_compute_seconds"),
            handle,
            recorder,
        };
        let recorder = Arc::new(recorder);
        metrics::with_local_recorder(&*recorder, || new(Arc::clone(&recorder)))
    }

    /// Counts what was refused or ended early.
    pub(crate) fn refused(&self, reason: &str) {
        metrics::with_local_recorder(&*self.recorder, || {
            counter!("twinmask_refused_total", "reason" => reason.to_owned()).increment(1);
        });
    }

    /// Tells the ends of a new identity.
    pub(crate) fn identity(&self, identity: &Identity) {
        self.not_after.set(identity.not_after_s() as f64);
        let next_update_s = identity.revocation_list().and_then(RevocationList::next_update_s);
        self.next_update.set(next_update_s.unwrap_or(0) as f64);
    }

    /// Counts one answered round.
    pub(crate) fn round(&self, queued: Duration, computed: Duration) {
        self.rounds.increment(1);
        self.queue_wait.record(queued);
        self.compute.record(computed);
    }

    /// Counts UDP payload bytes of a session.
    pub(crate) fn bytes(&self, sent: u64, received: u64) {
        self.bytes_out.increment(sent);
        self.bytes_in.increment(received);
    }

    /// All of it in the text format of Prometheus.
    pub(crate) fn render(&self) -> String {
        self.handle.render()
    }

    /// Moves samples into buckets; without a call now and then they pile up in memory.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}
