#include "netstack/names/resolv_conf.h"

#include <fmt/format.h>

#include <cerrno>
#include <utility>

#include "netstack/base/error.h"
#include "netstack/reachability/host_facts.h"

namespace netstack {

namespace {

int64_t nanoseconds(const timespec& time) {
  return time.tv_sec * static_cast<int64_t>(kSecond_ns) + time.tv_nsec;
}

}  // namespace

const std::vector<DnsServer>& ResolvConf::servers() {
  struct stat file {};
  if (::stat(path_.c_str(), &file) != 0) {
    settled_ = false;
    servers_.clear();
    return servers_;
  }
  const Version version{file.st_dev, file.st_ino, file.st_size, nanoseconds(file.st_mtim),
                        nanoseconds(file.st_ctim)};
  if (settled_ && version == version_) return servers_;

  HostSources sources;
  sources.resolv_conf = path_;
  const ResolverFacts resolver = gather_resolver(sources);
  if (resolver.errno_value == EACCES && !servers_.empty()) {
    keep_old_servers();
    return servers_;
  }
  servers_.clear();
  for (const Nameserver& server : resolver.nameservers) {
    servers_.push_back({server.address, kPortDns, server.scope, path_});
  }
  version_ = version;
  const auto now_ns = static_cast<int64_t>(clock_.wall_ns());
  settled_ = version.changed_ns + kYoung_ns < now_ns;
  return servers_;
}

void ResolvConf::keep_old_servers() {
  settled_ = false;
  if (std::exchange(said_kept_, true)) return;
  log_.line(fmt::format(
      "cannot read {} since it was replaced: {}; the nameservers stay as they were: start "
      "again for the new ones",
      path_, errno_text(EACCES)));
}

}  // namespace netstack
