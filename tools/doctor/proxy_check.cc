#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tools/doctor/host_checks.h"

namespace tools {

namespace {

constexpr std::array kVariables{"http_proxy", "https_proxy", "all_proxy",
                                "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"};

// "http://user:secret@proxy:3128/" without its user and secret: what a report may show.
std::string without_secrets(std::string_view url) {
  const size_t scheme = url.find("://");
  const size_t start = scheme == url.npos ? 0 : scheme + 3;
  const size_t at = url.substr(0, url.find('/', start)).rfind('@');
  if (at == url.npos || at < start) return std::string(url);
  return std::string(url.substr(0, start)) + std::string(url.substr(at + 1));
}

bool is_on_loopback(std::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme != url.npos) url.remove_prefix(scheme + 3);
  return url.starts_with("localhost") || url.starts_with("127.") || url.starts_with("[::1]");
}

}  // namespace

Finding check_proxy() {
  Finding finding{"proxy", "proxy", ""};
  finding.needed = false;
  bool on_loopback = false;
  for (const char* name : kVariables) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    const std::string shown = without_secrets(value);
    finding.fact += fmt::format("{}{}={}", finding.fact.empty() ? "" : ", ", name, shown);
    on_loopback = on_loopback || is_on_loopback(shown);
  }
  if (finding.fact.empty()) {
    finding.fact = "no proxy variable is set";
    return finding;
  }
  finding.ok = false;
  finding.fact += ": programs here go through a proxy, and guests do not know of it";
  finding.cure = "set the variables inside the guest";
  if (on_loopback)
    finding.cure += ", with the gateway's address (10.0.2.2) for the host's loopback";
  return finding;
}

}  // namespace tools
