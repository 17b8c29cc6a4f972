//! The fields and the shapes of a controller's answers, as files.

use std::sync::LazyLock;

use serde_json::{Map, Value};

macro_rules! shapes {
    ($($name:ident = $file:literal),* $(,)?) => {
        $(pub(super) static $name: LazyLock<Map<String, Value>> = LazyLock::new(|| {
            serde_json::from_str(include_str!(concat!("shapes/", $file))).unwrap_or_default()
        });)*

        #[cfg(test)]
        mod tests {
            #[test]
            fn every_shape_is_readable() {
                $(assert!(!super::$name.is_empty(), $file);)*
            }
        }
    };
}

shapes! {
    API = "api.json",
    PING = "ping.json",
    USER = "user.json",
    JOB = "job.json",
    WORKFLOW_JOB = "workflow_job.json",
    WORKFLOW_NODE = "workflow_node.json",
    JOB_EVENT = "job_event.json",
    JOB_TEMPLATE = "job_template.json",
    WORKFLOW_JOB_TEMPLATE = "workflow_job_template.json",
    LAUNCH_JOB_TEMPLATE = "launch_job_template.json",
    LAUNCH_WORKFLOW_JOB_TEMPLATE = "launch_workflow_job_template.json",
}
