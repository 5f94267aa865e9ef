//! The same flows for other products.

use crate::kafka::{Stage, now};
use crate::traffic::{Expected, Timing, Window};
use std::io::Write as _;
use weir_flow::{Millis, time};
use weir_schemas::raw::{End, RawBatch, Sample};
use weir_stream::NewRecord;

/// A flow with the names of `NetObserv`'s agent.
fn line(batch: &RawBatch, sample: &Sample) -> String {
    let direction = if sample.end == End::Source { 1 } else { 0 };
    format!(
        r#"{{"TimeFlowStartMs":{},"TimeFlowEndMs":{},"TimeReceived":{},"AgentIP":"{}","SrcAddr":"{}","DstAddr":"{}","SrcPort":{},"DstPort":{},"Proto":{},"Flags":{},"Bytes":{},"Packets":{},"IfDirections":[{direction}],"Interfaces":["{}"],"Sampling":{}}}"#,
        sample.first_seen,
        sample.last_seen,
        (batch.tick + batch.tick_length) / 1_000,
        batch.node,
        sample.source,
        sample.destination,
        sample.source_port,
        sample.destination_port,
        sample.protocol,
        sample.tcp_flags,
        sample.bytes,
        sample.packets,
        sample.interface,
        sample.sampling,
    )
}

/// Writes all flows of some windows that end now, to a topic or to standard output.
pub(crate) fn write(window: &mut Window<'_>, timing: Timing, windows: u32, to: Option<(&str, &str)>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let stage = match to {
            Some((kafka, _)) => Some(Stage::new(Some(kafka)).await),
            None => None,
        };
        let mut out = std::io::stdout().lock();
        let begin = time::floor_to(now(), timing.window) - timing.window * Millis::from(windows);
        for number in 0..windows {
            for index in 0..window.ticks() {
                let tick = begin + timing.window * Millis::from(number) + timing.tick * Millis::from(index);
                for (_, batch) in window.batches(index, tick, &mut Expected::default()) {
                    for sample in &batch.samples {
                        let line = line(&batch, sample);
                        match (&stage, to) {
                            (Some(stage), Some((_, topic))) => {
                                stage.send(NewRecord::new(topic, batch.node.clone(), line)).await;
                            }
                            _ => writeln!(out, "{line}").unwrap(),
                        }
                    }
                }
            }
        }
        if let Some(stage) = stage {
            stage.producer.flush(std::time::Duration::from_secs(60)).await.unwrap();
            stage.end().await;
        }
    });
}
