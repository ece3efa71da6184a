//! Counts the allocations of this process, if built with the feature `count-allocations`.

#[cfg(feature = "count-allocations")]
#[global_allocator]
static COUNTING: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

/// Returns the number of allocations and reallocations so far. `None` if they are not counted.
pub(super) fn count() -> Option<u64> {
    #[cfg(feature = "count-allocations")]
    {
        let stats = COUNTING.stats();
        u64::try_from(stats.allocations + stats.reallocations).ok()
    }
    #[cfg(not(feature = "count-allocations"))]
    None
}
