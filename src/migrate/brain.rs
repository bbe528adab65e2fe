//! Who decides on a run's adjustments: a model that is asked over HTTP, leverd's own learner, or the rules.
//!
//! In: the configuration's section `ai:`, and the records of earlier runs. Out: a [`Decider`], which the run's
//! [`Adjuster`](super::adjuster::Adjuster) is given. Always holds: only [`service`](Service) touches the world; the
//! learner is pure; behind each of them stand the rules, so no run depends on a model. It drives nothing: what is
//! asked when, and what becomes of an answer, is the adjuster's matter.

pub mod learner;
mod service;

#[cfg(test)]
pub(crate) mod fake_service;

pub use service::{AskError, BODY_CAP_BYTES, Service, ServiceError};

use crate::config::{AiConfig, AiProvider};
use learner::Records;

/// Who decides; the rules stand in where it does not.
#[derive(Debug, Clone)]
pub enum Decider {
    /// The rules alone.
    Rules {
        /// A model is wanted, and nothing is configured that could be asked.
        unconfigured: bool,
    },
    /// The learner, where it has evidence enough.
    Learner(Records),
    /// A model.
    Service(Service),
}

impl Decider {
    /// Whom the configuration names. `records`: of earlier runs, for the learner.
    ///
    /// # Errors
    /// Where a service is named that cannot be asked at all: its address or its key is none. Who calls this tells so
    /// and goes on with the rules.
    pub fn new(config: &AiConfig, records: Records) -> Result<Self, ServiceError> {
        match config.provider {
            AiProvider::Rules => Ok(Self::Rules { unconfigured: false }),
            AiProvider::Model => Ok(Self::Learner(records)),
            AiProvider::Claude | AiProvider::OpenAi | AiProvider::Ollama => {
                if config.can_ask() {
                    Service::new(config).map(Self::Service)
                } else {
                    Ok(Self::Rules { unconfigured: true })
                }
            }
        }
    }

    /// For people: `rules`, `local history`, or the model's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Rules { .. } => "rules",
            Self::Learner(_) => learner::NAME,
            Self::Service(service) => service.model(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use std::time::Duration;

    fn config(provider: AiProvider, key: Option<&str>) -> AiConfig {
        AiConfig {
            provider,
            api_key: key.map(Secret::new),
            model: provider.default_model().map(str::to_owned),
            endpoint: provider.default_endpoint().map(str::to_owned),
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn without_a_key_the_rules_decide_and_it_is_known_why() {
        let decider = Decider::new(&config(AiProvider::Claude, None), Records::default()).unwrap();
        assert!(matches!(decider, Decider::Rules { unconfigured: true }));
        let decider = Decider::new(&config(AiProvider::Rules, None), Records::default()).unwrap();
        assert!(matches!(decider, Decider::Rules { unconfigured: false }));
        assert_eq!(decider.name(), "rules");
    }

    #[test]
    fn each_provider_has_its_decider() {
        let learner = Decider::new(&config(AiProvider::Model, None), Records::default()).unwrap();
        assert_eq!(learner.name(), "local history");
        let nameless = config(AiProvider::Ollama, None);
        assert!(matches!(Decider::new(&nameless, Records::default()), Err(ServiceError::NotNamed)));
    }
}
