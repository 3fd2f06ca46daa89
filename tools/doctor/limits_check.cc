#include <fmt/format.h>
#include <sys/resource.h>

#include <string>

#include "tools/doctor/host_checks.h"

namespace tools {

namespace {

// A plug takes two descriptors, a vhost-user guest up to 20, a NAT flow or an echo one each.
constexpr rlim_t kDescriptorsWanted = 4096;
constexpr rlim_t kDescriptorsNeeded = 256;

std::string amount(rlim_t value) {
  return value == RLIM_INFINITY ? "unlimited" : std::to_string(value);
}

}  // namespace

// Our programs raise their soft limit to the hard one, so that is the one that counts.
Finding check_descriptors() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  Finding finding{
      "descriptors", "descriptors",
      fmt::format("{} for a process (RLIMIT_NOFILE's hard limit)", amount(limit.rlim_max))};
  finding.ok = limit.rlim_max >= kDescriptorsWanted;
  finding.needed = limit.rlim_max < kDescriptorsNeeded;
  if (!finding.ok) {
    finding.fact += fmt::format(
        ": few; every plug, flow and echo takes one, and {} are a good "
        "number",
        kDescriptorsWanted);
    finding.cure = fmt::format(
        "raise the hard limit: `ulimit -Hn {}` as root, LimitNOFILE= in a "
        "unit",
        kDescriptorsWanted);
  }
  return finding;
}

Finding check_locked_memory() {
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  const std::string size =
      limit.rlim_max == RLIM_INFINITY ? "unlimited" : fmt::format("{} KiB", limit.rlim_max / 1024);
  Finding finding{"locked-memory", "locked memory",
                  fmt::format("{} (RLIMIT_MEMLOCK); a LAN locks none, only -overcommit mem-lock "
                              "does",
                              size)};
  finding.needed = false;
  return finding;
}

}  // namespace tools
