#include "netstack/gateway/resolv_conf.h"

#include "netstack/gateway/host_facts.h"

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
  servers_.clear();
  for (const Nameserver& server : gather_resolver(sources).nameservers) {
    servers_.push_back({server.address, kPortDns, server.scope, path_});
  }
  version_ = version;
  const auto now_ns = static_cast<int64_t>(clock_.wall_ns());
  settled_ = version.changed_ns + kYoung_ns < now_ns;
  return servers_;
}

}  // namespace netstack
