//! The broker and the search server: embedded, or somebody else's.

use super::UpSettings;
use super::data::DataFolder;
use anyhow::{Context as _, Result};
use weir_embedded_broker::{Broker, BrokerSettings};
use weir_embedded_search::{SearchServer, SearchSettings};
use weir_service::HintExt as _;

/// What records go through and end in.
pub(crate) struct Engines {
    /// Bootstrap address of the broker.
    pub(crate) kafka: String,
    /// URL of the search server.
    pub(crate) elasticsearch: String,
    broker: Option<Broker>,
    search: Option<SearchServer>,
}

impl Engines {
    /// Starts those that no address was given for.
    pub(crate) async fn start(settings: &UpSettings, folder: &DataFolder) -> Result<Self> {
        let (broker, kafka) = match &settings.kafka {
            Some(address) => (None, address.clone()),
            None => {
                let broker = Broker::start(BrokerSettings::new(folder.join("kafka"), settings.kafka_listen))
                    .await
                    .context("embedded broker")
                    .hint("choose another address with --kafka-listen, or another folder with --data")?;
                let address = broker.address().to_string();
                (Some(broker), address)
            }
        };
        let (search, elasticsearch) = match &settings.elasticsearch {
            Some(url) => (None, url.clone()),
            None => {
                let folder = folder.join("elasticsearch");
                let search = SearchServer::start(SearchSettings::new(folder, settings.elasticsearch_listen))
                    .await
                    .context("embedded search server")
                    .hint("choose another address with --elasticsearch-listen, or another folder with --data")?;
                let url = format!("http://{}", search.address());
                (Some(search), url)
            }
        };
        Ok(Self { kafka, elasticsearch, broker, search })
    }

    /// Whether the broker is the embedded one.
    pub(crate) fn broker_is_embedded(&self) -> bool {
        self.broker.is_some()
    }

    /// Whether the search server is the embedded one.
    pub(crate) fn search_is_embedded(&self) -> bool {
        self.search.is_some()
    }

    /// Stops the embedded ones cleanly.
    pub(crate) async fn shutdown(self) {
        if let Some(search) = self.search {
            search.shutdown().await;
        }
        if let Some(broker) = self.broker {
            broker.shutdown().await;
        }
    }
}
