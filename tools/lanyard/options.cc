#include "tools/lanyard/options.h"

#include <fmt/format.h>

#include <cerrno>
#include <memory>

#include "netstack/base/error.h"
#include "tools/lan/standard_descriptors.h"
#include "tools/lanyard/given_word.h"

namespace tools {

void LanOptions::add_to(CLI::App& app) {
  app.add_option(
         "--net", net,
         "The guests' IPv4 network: gateway .2, DNS .3, leases from .15 (default 10.0.2.0/24)")
      ->type_name("CIDR")
      ->check(refuse_empty);
  app.add_option(
         "--hostfwd", forwards,
         "Forward a host port into a guest, for example tcp:127.0.0.1:2222-:22; may be repeated")
      ->type_name("SPEC");
  app.add_option(
         "--guestfwd", guest_forwards,
         "A place in the guests' network that leads to a command or socket of the host, for "
         "example tcp:10.0.2.100:1234-cmd:cat; may be repeated")
      ->type_name("SPEC");
  add_names_to(app);
  policy.add_to(app);
  egress.add_to(app);
  CLI::Option* file = app.add_option(
      "--capture", capture,
      "Write every frame to this file, whole, as it enters the switch: *.pcapng has the "
      "ports' names and why something was unreachable, other names are pcap; - is stdout");
  file->type_name("FILE")->check(refuse_empty);
  app.add_option("--capture-filter", capture_choice.filter,
                 "Only frames that this takes, as tcpdump has it: 'tcp port 80 and host 10.0.2.15'")
      ->type_name("EXPRESSION")
      ->check(refuse_empty)
      ->needs(file);
  app.add_option("--capture-snaplen", capture_choice.snap_bytes,
                 "Only so many bytes of each frame (default: all)")
      ->type_name("BYTES")
      ->check(CLI::Range(netstack::kSnapBytesMin, netstack::kSnapBytes))
      ->needs(file);
}

void LanOptions::add_names_to(CLI::App& app) {
  app.add_option("--host", hosts,
                 "A name the gateway's DNS answers, for example db=10.0.2.20; may be repeated")
      ->type_name("NAME=ADDRESS");
  app.add_option("--lease", leases,
                 "The address one guest always gets, for example 52:54:00:12:34:56=10.0.2.9; may "
                 "be repeated")
      ->type_name("MAC=ADDRESS");
  app.add_option("--domain", domain,
                 "The guests' domain, whose names the gateway knows (default lan); empty for none")
      ->type_name("NAME");
  app.add_option("--search", search, "A search domain behind it; may be repeated")
      ->type_name("DOMAIN");
  app.add_option("--zone", zones,
                 "Ask another server for names that end so, for example corp.example=192.0.2.53 or "
                 "consul=127.0.0.1:8600; may be repeated")
      ->type_name("SUFFIX=SERVER");
  app.add_option("--mtu", mtu, "The MTU guests are told, 576 to 65521 (default: not told, 1500)")
      ->type_name("BYTES")
      ->check(refuse_empty);
}

std::string LanOptions::gateway_options() const {
  std::string given;
  const auto add = [&](bool is_given, std::string_view name) {
    if (is_given) given += given.empty() ? std::string(name) : ", " + std::string(name);
  };
  add(!net.empty(), "--net");
  add(!forwards.empty(), "--hostfwd");
  add(!guest_forwards.empty(), "--guestfwd");
  add(!hosts.empty(), "--host");
  add(!leases.empty(), "--lease");
  add(domain != netstack::NamesConfig{}.domain, "--domain");
  add(!search.empty(), "--search");
  add(!zones.empty(), "--zone");
  add(!mtu.empty(), "--mtu");
  using Action = netstack::PolicyRule::Action;
  add(policy.has(Action::kAllow), "--allow");
  add(policy.has(Action::kDeny), "--deny");
  add(policy.restricted, "--restrict");
  add(!egress.report.empty(), "--egress-report");
  add(!egress.learned.empty(), "--learn");
  return given;
}

netstack::GatewayConfig LanOptions::gateway() const {
  netstack::GatewayConfig config;
  if (!net.empty()) config.network = netstack::GatewayNetwork::parse(net);
  for (const std::string& forward : forwards) {
    config.forwards.push_back(netstack::HostForward::parse(forward));
  }
  for (const std::string& forward : guest_forwards) {
    config.guest_forwards.push_back(netstack::GuestForward::parse(forward));
  }
  using netstack::NamesConfig;
  NamesConfig& names = config.names;
  names.domain = NamesConfig::parse_domain(domain);
  for (const auto& text : search) {
    names.search.push_back(NamesConfig::parse_domain(text, "--search"));
  }
  for (const auto& text : hosts) names.hosts.push_back(netstack::HostEntry::parse(text));
  for (const auto& text : leases) names.leases.push_back(netstack::StaticLease::parse(text));
  for (const auto& text : zones) names.zones.push_back(netstack::DnsZone::parse(text));
  if (!mtu.empty()) names.mtu = NamesConfig::parse_mtu(mtu);
  config.policy = policy.config();
  egress.check_writable();
  egress.refuse_one_file_for_two(capture);
  config.check_names();
  return config;
}

netstack::Capture* LanOptions::open_capture(Lan& lan, netstack::Log& log) const {
  if (capture.empty()) return nullptr;
  if (captures_to_stdout() && !has_standard_output()) {
    throw netstack::host_error(EBADF, fmt::format("write capture {}", capture),
                               "redirect standard output to who reads it", EX_CANTCREAT);
  }
  auto opened =
      std::make_unique<netstack::Capture>(capture, lan.loop(), log, "lanyard " LANYARD_VERSION,
                                          netstack::Capture::Writer::kWaits, capture_choice);
  opened->begin_file();
  netstack::Capture* writing = opened.get();
  lan.add_mirror(std::move(opened));
  return writing;
}

bool LanOptions::captures_to_stdout() const {
  return !capture.empty() && netstack::is_standard_output(capture);
}

}  // namespace tools
