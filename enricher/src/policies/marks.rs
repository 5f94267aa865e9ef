//! Whether anything was told of a pod since it was looked at, without a look at the pod: eight bytes of each stand side by side.

/// The number of a pod, as long as it is known; then it may be another one's.
pub(super) type Number = u32;

/// How a pod and all namespaces were marked at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    number: Number,
    of_pod: u64,
    of_namespaces: u64,
}

/// How often something was told of each pod, and of namespaces.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pods: Vec<u64>,
    /// Numbers of nobody. What was counted stays, so that a mark of who had the number before is none of who has it next.
    free: Vec<Number>,
    namespaces: u64,
}

impl Marks {
    /// A number for a pod.
    pub(super) fn number(&mut self) -> Number {
        self.free.pop().unwrap_or_else(|| {
            self.pods.push(0);
            u32::try_from(self.pods.len() - 1).unwrap_or(u32::MAX)
        })
    }

    /// Gives back the number of a pod that is forgotten.
    pub(super) fn free(&mut self, number: Number) {
        self.change(number);
        self.free.push(number);
    }

    /// Something was told of a pod.
    pub(super) fn change(&mut self, number: Number) {
        if let Some(count) = usize::try_from(number).ok().and_then(|place| self.pods.get_mut(place)) {
            *count = count.wrapping_add(1);
        }
    }

    /// Something was told of a namespace.
    pub(super) fn change_namespaces(&mut self) {
        self.namespaces = self.namespaces.wrapping_add(1);
    }

    /// The mark of a pod.
    pub(super) fn mark(&self, number: Number) -> Mark {
        Mark { number, of_pod: self.of(number), of_namespaces: self.namespaces }
    }

    /// Whether nothing was told since.
    pub(super) fn is_unchanged(&self, mark: Mark) -> bool {
        mark.of_namespaces == self.namespaces && mark.of_pod == self.of(mark.number)
    }

    fn of(&self, number: Number) -> u64 {
        usize::try_from(number).ok().and_then(|place| self.pods.get(place)).copied().unwrap_or_default()
    }
}
