//! The rule of `provider_kube::guarded`, as that server has it. That a real one reads the rule so is tested by
//! `scripts/test-kube.sh`.

use serde_json::Value;

use super::Server;

impl Server {
    /// By a definition without the rule.
    pub fn unguarded(self) -> Self {
        self.0.lock().unwrap().unguarded = true;
        self
    }
}

pub fn keeps(before: &Value, after: &Value) -> Result<(), &'static str> {
    let records = |object: &Value| object.pointer("/status/jobs").cloned();
    let Some(Value::Array(old)) = records(before) else {
        return Ok(());
    };
    let now = match records(after) {
        Some(Value::Array(now)) => now,
        _ if old.is_empty() => return Ok(()),
        _ => return Err("status.jobs must stay"),
    };
    let number = |record: &Value| record["attempt"].as_u64().unwrap_or(0);
    let is_over = |record: &Value| {
        let state = record["state"].as_str().unwrap_or_default();
        ["Succeeded", "Failed", "Canceled"].contains(&state) && record["doubtful"] != true
    };
    for one in old.iter().filter(|record| number(record) > 0) {
        let newest = now.iter().any(|new| number(new) >= number(one));
        let removed = old.iter().any(|other| {
            number(other) >= number(one)
                && other["type"] == "deprovision"
                && other["state"] == "Succeeded"
                && other["doubtful"] != true
                && (one["target"].is_null() || other["target"] == one["target"])
        });
        let kept = now.iter().any(|new| {
            let has_job = one["jobID"] == "" || new["jobID"] != "";
            let has_token = one["token"].is_null() || new["token"] == one["token"];
            number(new) == number(one) && has_job && has_token
        });
        if !(newest || removed) || !(is_over(one) || kept) {
            return Err("status.jobs must keep its newest record, and those of live jobs");
        }
    }
    Ok(())
}
