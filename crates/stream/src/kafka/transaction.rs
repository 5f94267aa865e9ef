//! The transactional producer. Its errors are sorted by what the owner has to do, on the side of
//! caution: whatever is not known to be harmless makes the owner start from committed positions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;
use rdkafka::util::Timeout;

use super::blocking;
use super::config::Connection;
use super::convert;
use super::edge::Registry;
use super::producer::{Context, Core, Refused};
use super::served::ServedProducer;
use crate::group::GroupMetadataInner;
use crate::{GroupMetadata, NewRecord, OffsetAndMetadata, Result, StreamError, TopicPartition, TransactionSettings};

type Native = Arc<ServedProducer<Context>>;

/// How long the end of a transaction may take until its outcome counts as unknown: longer than a broker takes to end it by
/// itself. The library can wait for an end for ever, when brokers came back while it asked for one; a new producer finds
/// out what became of it.
const END: Duration = Duration::from_secs(60);

/// How long one attempt to end a transaction takes.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Between two attempts of a call that may be repeated.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Ready,
    Open,
    /// Open, and to be aborted.
    MustAbort,
    Dead,
}

#[derive(Debug)]
pub(crate) struct KafkaTransactionalProducer {
    core: Core,
    id: String,
    transaction_timeout: Duration,
    phase: Phase,
}

/// What an error of the client library means in a transaction.
enum Meaning {
    Repeat,
    Abort(String),
    Dead(StreamError),
}

fn meaning(native: &Native, id: &str, error: &KafkaError) -> Meaning {
    let fatal = native.client().fatal_error();
    let code = match &fatal {
        Some((code, _)) if *code != RDKafkaErrorCode::Fatal => Some(*code),
        _ => convert::code(error),
    };
    let text = match &fatal {
        Some((_, reason)) => format!("{id}: {error}: {reason}"),
        None => format!("{id}: {error}"),
    };
    if code.is_some_and(convert::is_fenced) {
        return Meaning::Dead(StreamError::Fenced(text));
    }
    match error {
        _ if fatal.is_some() => Meaning::Dead(StreamError::Fatal(text)),
        KafkaError::Transaction(error) if error.is_fatal() => Meaning::Dead(StreamError::Fatal(text)),
        KafkaError::Transaction(error) if error.txn_requires_abort() => Meaning::Abort(text),
        KafkaError::Transaction(error) if error.is_retriable() => Meaning::Repeat,
        _ => Meaning::Dead(StreamError::Fatal(text)),
    }
}

/// How a repeated call ended.
enum Ended {
    Done,
    Abort(String),
    Dead(StreamError),
}

/// Makes a call off the async threads, again while it may be repeated and the deadline, if there is one,
/// has not passed.
async fn repeat(
    core: &Core,
    id: &str,
    deadline: Option<Instant>,
    call: impl Fn(&Native) -> Result<(), KafkaError> + Send + 'static,
) -> Result<Ended> {
    let native = Arc::clone(core.native());
    let id = id.to_owned();
    blocking(move || {
        loop {
            let Err(error) = call(&native) else {
                return Ok(Ended::Done);
            };
            match meaning(&native, &id, &error) {
                Meaning::Repeat if deadline.is_none_or(|deadline| Instant::now() < deadline) => {
                    super::edge::add(&native.context().numbers().retries, 1);
                    std::thread::sleep(PAUSE);
                }
                Meaning::Repeat => return Ok(Ended::Abort(format!("{id}: {error}"))),
                Meaning::Abort(text) => return Ok(Ended::Abort(text)),
                Meaning::Dead(error) => return Ok(Ended::Dead(error)),
            }
        }
    })
    .await
}

impl KafkaTransactionalProducer {
    pub(super) async fn initialize(
        connection: &Connection,
        registry: &Registry,
        settings: &TransactionSettings,
    ) -> Result<Self> {
        let core = Core::new(
            &connection.transactional(settings),
            registry,
            &settings.client_id,
            settings.queue_bytes,
            settings.max_record_bytes,
        )?;
        let id = settings.transactional_id.clone();
        let timeout = settings.init_timeout;
        let deadline = Instant::now() + timeout;
        let slice = timeout.min(Duration::from_secs(5));
        let ended = repeat(&core, &id, Some(deadline), move |native| native.init_transactions(slice)).await?;
        match ended {
            Ended::Done => {
                Ok(Self { core, id, transaction_timeout: settings.transaction_timeout, phase: Phase::Ready })
            }
            Ended::Abort(_) => Err(StreamError::Timeout {
                what: format!("initializing transactions of {id}"),
                milliseconds: timeout.as_millis(),
            }),
            Ended::Dead(error) => Err(error),
        }
    }

    fn check(&self, wanted: Phase) -> Result<()> {
        match self.phase {
            phase if phase == wanted => Ok(()),
            Phase::Dead => Err(StreamError::Fatal(format!("producer {} has ended; make a new one", self.id))),
            Phase::MustAbort => {
                Err(StreamError::Abortable(format!("{}: an earlier error in this transaction", self.id)))
            }
            phase => {
                Err(StreamError::Misuse(format!("transaction of {} is {phase:?} where it must be {wanted:?}", self.id)))
            }
        }
    }

    fn must_abort(&mut self, text: String) -> StreamError {
        self.phase = Phase::MustAbort;
        StreamError::Abortable(text)
    }

    fn dead(&mut self, error: StreamError) -> StreamError {
        self.phase = Phase::Dead;
        error
    }

    /// A delivery that has failed, as an error of the transaction.
    fn failed_delivery(&mut self) -> Option<StreamError> {
        let (code, text) = self.core.take_failure()?;
        let native = self.core.native();
        let fatal = native.client().fatal_error();
        let fenced = |code: &RDKafkaErrorCode| convert::is_fenced(*code);
        let error = match fatal {
            _ if fenced(&code) => self.dead(StreamError::Fenced(text)),
            Some((code, reason)) if fenced(&code) => self.dead(StreamError::Fenced(reason)),
            Some((_, reason)) => self.dead(StreamError::Fatal(reason)),
            None => self.must_abort(text),
        };
        Some(error)
    }

    fn check_deliveries(&mut self) -> Result<()> {
        self.failed_delivery().map_or(Ok(()), Err)
    }

    pub(crate) async fn begin(&mut self) -> Result<()> {
        self.check(Phase::Ready)?;
        // Failures of an aborted transaction are no concern of this one.
        self.core.take_failure();
        let ended = repeat(&self.core, &self.id, None, |native| native.begin_transaction()).await?;
        match ended {
            Ended::Done => {
                self.phase = Phase::Open;
                Ok(())
            }
            Ended::Abort(text) => Err(self.dead(StreamError::Fatal(text))),
            Ended::Dead(error) => Err(self.dead(error)),
        }
    }

    pub(crate) async fn send(&mut self, record: NewRecord) -> Result<()> {
        self.check(Phase::Open)?;
        let deadline = Instant::now() + self.transaction_timeout;
        loop {
            self.check_deliveries()?;
            match self.core.enqueue(&record, None) {
                Ok(()) => return Ok(()),
                Err(Refused::Error(error)) => return Err(error),
                Err(Refused::Full) => {
                    let limit = self.core.limit_bytes();
                    let size = record.size();
                    let core = &self.core;
                    let room = core
                        .wait(deadline, |queued, _| queued == 0 || queued + size <= limit || core.has_failure())
                        .await;
                    if !room {
                        let text = format!("{}: no room in the queue in time", self.id);
                        return Err(self.must_abort(text));
                    }
                }
                Err(Refused::Code(RDKafkaErrorCode::MessageSizeTooLarge, _)) => {
                    return Err(StreamError::TooLarge {
                        topic: record.topic.to_string(),
                        size: record.size(),
                        limit: record.size(),
                    });
                }
                Err(Refused::Code(code, text)) => return Err(self.refused(code, text)),
            }
        }
    }

    /// The library takes no record any more: the transaction has failed behind the caller's back.
    fn refused(&mut self, code: RDKafkaErrorCode, text: String) -> StreamError {
        if let Some(error) = self.failed_delivery() {
            return error;
        }
        match self.core.native().client().fatal_error() {
            Some((fatal, reason)) if convert::is_fenced(fatal) => self.dead(StreamError::Fenced(reason)),
            Some((_, reason)) => self.dead(StreamError::Fatal(reason)),
            None if convert::is_fenced(code) => self.dead(StreamError::Fenced(text)),
            None => self.must_abort(text),
        }
    }

    pub(crate) async fn send_offsets(
        &mut self,
        offsets: &[(TopicPartition, OffsetAndMetadata)],
        group: &GroupMetadata,
    ) -> Result<()> {
        self.check(Phase::Open)?;
        self.check_deliveries()?;
        let GroupMetadataInner::Kafka(group) = &group.0 else {
            return Err(StreamError::Misuse("group metadata is of another log".into()));
        };
        let group: Arc<ConsumerGroupMetadata> = Arc::clone(group);
        let list = convert::commits(offsets)?;
        let timeout = self.transaction_timeout;
        let deadline = Instant::now() + timeout;
        // A call whose future is dropped goes on behind its caller's back.
        self.phase = Phase::MustAbort;
        let ended = repeat(&self.core, &self.id, Some(deadline), move |native| {
            native.send_offsets_to_transaction(&list, &group, timeout)
        })
        .await?;
        match ended {
            Ended::Done => {
                self.phase = Phase::Open;
                Ok(())
            }
            Ended::Abort(text) => Err(self.must_abort(text)),
            Ended::Dead(error) => Err(self.dead(error)),
        }
    }

    pub(crate) async fn commit(&mut self) -> Result<()> {
        self.check(Phase::Open)?;
        // Everything acknowledged before the commit is asked for: a failure up to here is known to
        // have committed nothing. The library bounds this by its message timeout.
        let deadline = Instant::now() + self.transaction_timeout + Duration::from_secs(5);
        let flushed = self.core.wait(deadline, |_, in_flight| in_flight == 0).await;
        self.check_deliveries()?;
        if !flushed {
            let text = format!("{}: records were not acknowledged in time", self.id);
            return Err(self.must_abort(text));
        }
        // From here on an unwound or cancelled call leaves an unknown outcome.
        self.phase = Phase::Dead;
        let ended = repeat(&self.core, &self.id, Some(Instant::now() + END), |native| {
            settle(native);
            native.commit_transaction(Timeout::After(ATTEMPT))
        })
        .await?;
        match ended {
            Ended::Done => {
                self.phase = Phase::Ready;
                super::edge::add(&self.core.numbers().transactions_committed, 1);
                Ok(())
            }
            Ended::Abort(text) | Ended::Dead(StreamError::Fatal(text)) => {
                super::edge::add(&self.core.numbers().transactions_unknown, 1);
                let text = format!("outcome of a commit is unknown: {text}");
                Err(StreamError::Fenced(text))
            }
            Ended::Dead(error) => {
                super::edge::add(&self.core.numbers().transactions_unknown, 1);
                Err(error)
            }
        }
    }

    pub(crate) async fn abort(&mut self) -> Result<()> {
        match self.phase {
            Phase::Ready => return Ok(()),
            Phase::Dead => return self.check(Phase::Open),
            Phase::Open | Phase::MustAbort => {}
        }
        self.phase = Phase::Dead;
        let deadline = Some(Instant::now() + END);
        let attempt = |native: &Native| native.abort_transaction(Timeout::After(ATTEMPT));
        let ended = repeat(&self.core, &self.id, deadline, attempt).await?;
        match ended {
            Ended::Done => {
                self.phase = Phase::Ready;
                super::edge::add(&self.core.numbers().transactions_aborted, 1);
                Ok(())
            }
            Ended::Abort(text) => Err(StreamError::Fatal(text)),
            Ended::Dead(error) => Err(error),
        }
    }
}

/// The library counts a message as in flight until its report's event is gone, a moment after the report itself;
/// its wrapper would then sleep a tenth of a second.
fn settle(native: &Native) {
    for _ in 0..200 {
        if native.in_flight_count() == 0 {
            return;
        }
        std::thread::sleep(Duration::from_micros(250));
    }
}
