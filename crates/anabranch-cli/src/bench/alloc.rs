//! How many allocations this process has made, where it was built to count them.

#[cfg(feature = "count-allocations")]
#[global_allocator]
static COUNTING: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

/// Allocations and reallocations so far; nothing where they are not counted.
pub(super) fn count() -> Option<u64> {
    #[cfg(feature = "count-allocations")]
    {
        let stats = COUNTING.stats();
        u64::try_from(stats.allocations + stats.reallocations).ok()
    }
    #[cfg(not(feature = "count-allocations"))]
    None
}
