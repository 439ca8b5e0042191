//! What did all rounds say? Results by what they are about, and medians of them.

use serde_json::Value;

/// All lines of JSON.
pub struct Results(Vec<Value>);

/// What lines are about: members that must have this value.
pub type About<'a> = [(&'a str, Value)];

impl Results {
    /// Reads lines of JSON.
    pub fn parse(text: &str) -> serde_json::Result<Self> {
        text.lines().map(serde_json::from_str).collect::<Result<_, _>>().map(Self)
    }

    /// The lines about this.
    pub fn about<'a>(&'a self, about: &'a About<'a>) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |line| about.iter().all(|(name, value)| line[name] == *value))
    }

    /// The values of a member that appear anywhere, in the order of their first appearance.
    pub fn values(&self, member: &str, about: &About<'_>) -> Vec<Value> {
        let mut values = Vec::new();
        for line in self.about(about) {
            if !line[member].is_null() && !values.contains(&line[member]) {
                values.push(line[member].clone());
            }
        }
        values
    }

    /// The median of a number over all lines about this.
    pub fn median(&self, member: &str, about: &About<'_>) -> Option<f64> {
        median(self.about(about).filter_map(|line| line[member].as_f64()).collect())
    }

    /// The highest number in a round.
    fn best_of_round(&self, member: &str, about: &About<'_>, round: &Value) -> Option<f64> {
        let lines = self.about(about).filter(|line| line["round"] == *round);
        lines.filter_map(|line| line[member].as_f64()).max_by(f64::total_cmp)
    }

    /// The median over the rounds of the highest number of each.
    pub fn best(&self, member: &str, about: &About<'_>) -> Option<f64> {
        let rounds = self.values("round", about);
        median(rounds.iter().filter_map(|round| self.best_of_round(member, about, round)).collect())
    }

    /// The median over the rounds of one number's share in another: a machine that is slow in a round is slow for both.
    pub fn ratio(&self, member: &str, about: &About<'_>, to: &About<'_>) -> Option<f64> {
        let ratio = |round| {
            let number = self.best_of_round(member, about, round)?;
            Some(number / self.best_of_round(member, to, round)?)
        };
        median(self.values("round", about).iter().filter_map(ratio).filter(|ratio| ratio.is_finite()).collect())
    }
}

fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let (low, high) = (numbers.get(numbers.len().checked_sub(1)? / 2)?, numbers.get(numbers.len() / 2)?);
    Some((low + high) / 2.0)
}
