//! `anabranch topics`: lists the topics of a broker, and creates, describes, changes, empties and deletes them.

mod list;

use std::{process::ExitCode, str::FromStr, time::Duration};

use anabranch::{
    Admin, TopicName,
    admin::{RetentionLimit, TopicRetention},
    units,
};

use crate::{connection::ConnectionArgs, output::Output, progress};

/// List the topics that these credentials may read, write or administer.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    change: Option<Command>,

    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Create a topic.
    Create(Kept),
    /// Show a topic, and the positions of its named consumers.
    Describe(Described),
    /// Change how long a topic keeps its messages.
    Set(Kept),
    /// Drop all messages of a topic, read or not. Its offsets go on.
    Purge(One),
    /// Delete a topic with its messages and positions. Its consumers end.
    Delete(One),
}

#[derive(Debug, clap::Args)]
struct One {
    /// Name of the topic.
    topic: TopicName,

    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, clap::Args)]
struct Described {
    #[command(flatten)]
    one: One,

    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Kept {
    #[command(flatten)]
    one: One,

    /// Age at which messages are dropped: a time such as 7d, `none`, or `broker` for what the broker does with all topics.
    #[arg(long, value_name = "TIME")]
    max_age: Option<Limit<Duration>>,

    /// Size above which the oldest messages are dropped: a size such as 10GiB, `none`, or `broker`.
    #[arg(long, value_name = "SIZE")]
    max_bytes: Option<Limit<u64>>,
}

/// The value of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit<T>(RetentionLimit<T>);

impl<T: Measure> FromStr for Limit<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(match text {
            "broker" => RetentionLimit::Broker,
            "none" => RetentionLimit::Unlimited,
            text => RetentionLimit::At(T::parse(text)?),
        }))
    }
}

/// A value of a limit, as text.
trait Measure: Sized {
    fn parse(text: &str) -> Result<Self, String>;
}

impl Measure for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        crate::args::positive_duration(text)
    }
}

impl Measure for u64 {
    fn parse(text: &str) -> Result<Self, String> {
        match units::parse_size(text) {
            Ok(0) => Err("must be more than zero".into()),
            Ok(size) => Ok(size),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Kept {
    /// Returns `before` with the limits that are given.
    fn retention(&self, before: TopicRetention) -> TopicRetention {
        TopicRetention {
            max_age: self.max_age.map_or(before.max_age, |limit| limit.0),
            max_bytes: self.max_bytes.map_or(before.max_bytes, |limit| limit.0),
        }
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Some(command) = args.change else {
        let mut admin = Admin::connect(args.connection.config()).await?;
        list::list(&admin.topics().await?, args.output)?;
        admin.close().await;
        return Ok(ExitCode::SUCCESS);
    };
    let one = match &command {
        Command::Create(kept) | Command::Set(kept) => &kept.one,
        Command::Describe(described) => &described.one,
        Command::Purge(one) | Command::Delete(one) => one,
    };
    let topic = one.topic.clone();
    let mut admin = Admin::connect(one.connection.config()).await?;
    match command {
        Command::Create(kept) => {
            let retention = kept.retention(TopicRetention::default());
            admin.create_topic(&topic, retention).await?;
            progress::say(format_args!("topic {topic} created"));
        }
        Command::Set(kept) => {
            let before = known(&mut admin, &topic).await?.retention;
            admin.set_retention(&topic, kept.retention(before)).await?;
            progress::say(format_args!("topic {topic} changed"));
        }
        Command::Describe(described) => {
            let info = known(&mut admin, &topic).await?;
            let positions = admin.positions(&topic).await?;
            list::describe(info, &positions, described.output)?;
        }
        Command::Purge(_) => {
            let dropped = admin.purge_topic(&topic).await?;
            progress::say(format_args!("{dropped} messages of topic {topic} dropped"));
        }
        Command::Delete(_) => {
            let dropped = admin.delete_topic(&topic).await?;
            progress::say(format_args!(
                "topic {topic} deleted, with {dropped} messages"
            ));
        }
    }
    admin.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn known(
    admin: &mut Admin,
    topic: &TopicName,
) -> anyhow::Result<anabranch::admin::TopicInfo> {
    match admin.topic(topic).await? {
        Some(info) => Ok(info),
        None => anyhow::bail!("there is no topic {topic} that these credentials may see"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_measure_or_a_word() {
        let week = Limit(RetentionLimit::At(Duration::from_secs(7 * 86_400)));
        assert_eq!("7d".parse(), Ok(week));
        assert_eq!("1KiB".parse(), Ok(Limit(RetentionLimit::At(1024_u64))));
        assert_eq!("none".parse(), Ok(Limit(RetentionLimit::<u64>::Unlimited)));
        assert_eq!("broker".parse(), Ok(Limit(RetentionLimit::<u64>::Broker)));
        assert!("0".parse::<Limit<u64>>().is_err());
        assert!("soon".parse::<Limit<Duration>>().is_err());
    }
}
