//! The contract of a log, as scenarios. Every scenario runs against the log in memory, against the
//! embedded broker, and against a real Kafka where `WEIR_TEST_KAFKA=host:port` is set.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "contract/environment.rs"]
mod environment;
#[path = "contract/groups.rs"]
mod groups;
#[path = "contract/records.rs"]
mod records;
#[path = "contract/transactions.rs"]
mod transactions;

macro_rules! scenarios {
    ($($module:ident::$scenario:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                super::$module::$scenario(&super::environment::Environment::memory()).await;
            })*
        }

        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                let environment = super::environment::Environment::embedded().await;
                super::$module::$scenario(&environment).await;
            })*
        }

        mod kafka {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                if let Some(environment) = super::environment::Environment::kafka() {
                    super::$module::$scenario(&environment).await;
                } else {
                    eprintln!("skipped: set WEIR_TEST_KAFKA=host:port to run on a real Kafka");
                }
            })*
        }
    };
}

scenarios! {
    records::written_records_are_read_back_whole,
    records::a_reader_starts_where_it_is_told,
    records::append_time_is_the_brokers,
    records::an_existing_topic_keeps_its_partitions,
    records::a_topic_says_its_settings,
    records::an_unknown_topic_is_said_to_be_unknown,
    records::a_walk_ends_behind_control_records,
    records::a_full_queue_refuses_and_recovers,
    transactions::an_open_transaction_is_invisible,
    transactions::a_newer_producer_fences_the_older,
    transactions::consume_transform_produce_is_exactly_once_over_crashes,
    transactions::a_torn_commit_is_all_or_nothing,
    transactions::a_member_of_an_older_generation_is_refused,
    transactions::positions_in_an_open_transaction_are_waited_for,
    transactions::calls_out_of_order_are_refused,
    groups::committed_metadata_comes_back,
    groups::a_rebalance_waits_for_the_owner,
    groups::a_static_member_that_restarts_keeps_its_partitions,
    groups::a_taken_over_instance_is_fenced,
    groups::a_position_below_the_log_is_reported,
    groups::nothing_is_delivered_before_start,
    groups::pause_holds_and_resume_continues,
    groups::a_seek_leaves_earlier_records_behind,
    groups::a_member_without_partitions_has_a_snapshot,
    groups::a_stale_members_commit_is_refused,
    groups::an_owner_that_sleeps_loses_its_partitions,
}
