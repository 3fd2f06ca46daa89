// Signs, not proofs: a sandbox that wants to be unseen is. A sign alone is no trouble; what it
// leads to (no route, no ping, no /dev/kvm) is found by its own check, which then can be read
// beside this.
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>
#include <vector>

#include "tools/doctor/host_checks.h"
#include "tools/doctor/process_status.h"

namespace tools {

namespace {

// What gVisor's kernel says of itself in every release.
constexpr const char* kGvisorVersion = "#1 SMP Sun Jan 10 15:06:54 PST 2016";

bool is_set(const char* name) {
  return std::getenv(name) != nullptr;
}

bool in_gvisor() {
  const auto version = small_file("/proc/version");
  return version && version->find(kGvisorVersion) != version->npos;
}

std::string nix_sign() {
  const char* home = std::getenv("HOME");
  const bool homeless = home != nullptr && std::string_view(home) == "/homeless-shelter";
  if (!is_set("NIX_BUILD_TOP") && !(is_set("NIX_STORE") && homeless)) return {};
  return is_set("NIX_OUTPUT_CHECKED")
             ? "a fixed-output Nix build (NIX_OUTPUT_CHECKED is set), which "
               "may have the network"
             : "a Nix build (NIX_BUILD_TOP or HOME=/homeless-shelter)";
}

std::string container_sign() {
  if (const char* kind = std::getenv("container"); kind != nullptr && *kind != '\0') {
    return fmt::format("a container (container={})", kind);
  }
  if (::access("/.dockerenv", F_OK) == 0) return "a Docker container (/.dockerenv)";
  if (::access("/run/.containerenv", F_OK) == 0) return "a Podman container (/run/.containerenv)";
  if (is_set("KUBERNETES_SERVICE_HOST")) return "a Kubernetes pod (KUBERNETES_SERVICE_HOST is set)";
  return {};
}

std::string seccomp_sign() {
  const std::string mode = status_field("Seccomp");
  if (mode != "1" && mode != "2") return {};
  const std::string filters = status_field("Seccomp_filters");
  return filters.empty() ? "a seccomp filter" : fmt::format("seccomp filters: {}", filters);
}

// Which ids of the parent namespace ours stand for: "0 0 4294967295" is all of them.
std::string user_namespace_sign() {
  const auto map = small_file("/proc/self/uid_map");
  unsigned long inside = 1;
  unsigned long outside = 1;
  unsigned long count = 0;
  if (!map || std::sscanf(map->c_str(), "%lu %lu %lu", &inside, &outside, &count) != 3) return {};
  if (inside == 0 && outside == 0 && count == 4294967295UL) return {};
  return fmt::format("a user namespace (user {} stands for {} outside)", inside, outside);
}

}  // namespace

Finding check_sandbox() {
  std::vector<std::string> signs;
  for (std::string sign : {nix_sign(), container_sign(), user_namespace_sign(), seccomp_sign()}) {
    if (!sign.empty()) signs.push_back(std::move(sign));
  }
  if (status_field("NoNewPrivs") == "1") signs.emplace_back("no new privileges");
  Finding finding{"sandbox", "sandbox", signs.empty() ? "no sign of one" : ""};
  finding.needed = false;
  if (in_gvisor()) {
    signs.insert(signs.begin(), "gVisor in the place of the kernel");
    finding.ok = false;
    finding.cure =
        "expect gaps (rtnetlink, memfd, raw sockets); run on Linux itself where they hurt";
  }
  if (!signs.empty()) finding.fact = fmt::format("{}", fmt::join(signs, "; "));
  return finding;
}

Finding check_namespaces() {
  constexpr std::array kKinds{"net", "user", "mnt", "pid"};
  std::string fact;
  for (const char* kind : kKinds) {
    std::array<char, 64> target{};
    const std::string path = fmt::format("/proc/self/ns/{}", kind);
    const ssize_t size = ::readlink(path.c_str(), target.data(), target.size());
    const std::string id(target.data(), size > 0 ? static_cast<size_t>(size) : 0);
    fact.append(fact.empty() ? "" : ", ")
        .append(id.empty() ? fmt::format("{}: unknown", kind) : id);
  }
  Finding finding{"namespaces", "namespaces", fact};
  finding.needed = false;
  return finding;
}

}  // namespace tools
