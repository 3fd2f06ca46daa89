// The grammar of rules. A rule is read from both ends: a protocol in front, ports behind, and what
// is left is the destination. That leaves one doubt, IPv6 addresses, which are full of colons: they
// are tried whole first, and stand in brackets when a port follows.
#include "netstack/config/policy_rule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <sstream>
#include <utility>

#include "netstack/base/error.h"
#include "netstack/base/number.h"
#include "netstack/base/read_text.h"
#include "netstack/wire/dns.h"

namespace netstack {

namespace {

using Matter = PolicyRule::Matter;
using Place = PolicyRule::Place;

constexpr size_t kNameCharactersMax = kDnsNameBytesMax - 2;  // of text without its last dot
constexpr size_t kFile_size = size_t{1} << 20U;              // of rules
constexpr std::pair<std::string_view, Matter> kMatters[] = {
    {"tcp", Matter::kTcp},
    {"udp", Matter::kUdp},
    {"icmp", Matter::kEcho},
    {"dns", Matter::kQuestion},
};

char lower(char letter) {
  return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
}

bool is_name_character(char letter) {
  return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9') || letter == '-' ||
         letter == '_';
}

// Reads one rule. What is wrong with it is thrown as text and put into a sentence by parse().
class RuleReader {
 public:
  using Wrong = std::string;

  RuleReader(PolicyRule& rule, std::string_view text) : rule_(rule), rest_(text) {}

  void read() {
    take_protocol();
    take_destination();
    if (rest_.empty()) return;
    if (rest_.front() != ':') throw Wrong(fmt::format("\"{}\" follows the destination", rest_));
    take_ports(rest_.substr(1));
  }

 private:
  void take_protocol() {
    const size_t colon = rest_.find(':');
    if (colon == std::string_view::npos) return;
    for (const auto& [name, matter] : kMatters) {
      if (rest_.substr(0, colon) != name) continue;
      rule_.matter = matter;
      rest_.remove_prefix(colon + 1);
      return;
    }
  }

  void take_destination() {
    if (rest_.empty()) throw Wrong("the destination is missing");
    if (rest_.front() == '[') return take_bracketed();
    const auto bare = IpAddress::parse(rest_.substr(0, rest_.find('/')));
    const size_t end = bare && bare->v6 ? rest_.size() : std::min(rest_.find(':'), rest_.size());
    set_destination(rest_.substr(0, end));
    rest_.remove_prefix(end);
  }

  // "[2001:db8::]/32", "[2001:db8::/32]", "[2001:db8::1]"
  void take_bracketed() {
    const size_t close = rest_.find(']');
    if (close == std::string_view::npos) throw Wrong("the bracket is not closed");
    std::string address(rest_.substr(1, close - 1));
    rest_.remove_prefix(close + 1);
    if (rest_.starts_with('/')) {
      const size_t end = std::min(rest_.find(':'), rest_.size());
      address += rest_.substr(0, end);
      rest_.remove_prefix(end);
    }
    const auto read = IpAddress::parse(std::string_view(address).substr(0, address.find('/')));
    if (!read || !read->v6) throw Wrong("brackets are for IPv6 addresses");
    set_destination(address);
  }

  void set_destination(std::string_view text) {
    if (text == "any") return;
    const size_t slash = text.find('/');
    if (const auto address = IpAddress::parse(text.substr(0, slash))) {
      return set_network(*address, slash == std::string_view::npos ? "" : text.substr(slash + 1),
                         slash != std::string_view::npos);
    }
    if (slash != std::string_view::npos) {
      throw Wrong(fmt::format("{} is no address", text.substr(0, slash)));
    }
    set_name(text);
  }

  void set_network(const IpAddress& address, std::string_view prefix, bool has_prefix) {
    if (rule_.matter == Matter::kQuestion) throw Wrong("questions have a name, not an address");
    const unsigned whole = address.v6 ? 128 : 32;
    const auto bits = has_prefix ? parse_number<unsigned>(prefix) : whole;
    if (!bits || *bits > whole) throw Wrong(fmt::format("the prefix is not 0 to {}", whole));
    for (unsigned bit = *bits; bit < whole; ++bit) {
      if ((address.octets[bit / 8] & (0x80U >> (bit % 8))) != 0) {
        throw Wrong(fmt::format("bits behind the prefix /{} are set", *bits));
      }
    }
    rule_.place = Place::kNetwork;
    rule_.network = address;
    rule_.prefix_bits = static_cast<uint8_t>(*bits);
  }

  void set_name(std::string_view text) {
    rule_.place = Place::kName;
    if (text.starts_with("*.")) {
      rule_.place = Place::kSuffix;
      text.remove_prefix(2);
    }
    if (text.ends_with('.')) text.remove_suffix(1);
    for (const char letter : text) rule_.name += lower(letter);
    check_name();
  }

  void check_name() const {
    const std::string_view name = rule_.name;
    size_t label_size = 0;
    bool digits_only = true;  // of the last label: then it is an address with a slip in it
    for (const char letter : name) {
      if (letter == '.') {
        if (label_size == 0) throw Wrong("the name has an empty part");
        label_size = 0;
        digits_only = true;
        continue;
      }
      if (!is_name_character(letter)) throw Wrong("it is neither an address nor a name");
      if (++label_size > kDnsLabelBytesMax) throw Wrong("a part of the name is too long");
      digits_only = digits_only && letter >= '0' && letter <= '9';
    }
    if (label_size == 0) throw Wrong("the name has an empty part");
    if (digits_only) throw Wrong(fmt::format("{} is no address", name));
    if (name.size() > kNameCharactersMax) throw Wrong("the name is too long");
  }

  void take_ports(std::string_view text) {
    if (rule_.matter == Matter::kEcho || rule_.matter == Matter::kQuestion) {
      throw Wrong(
          fmt::format("{} has no ports", kMatters[static_cast<size_t>(rule_.matter) - 1].first));
    }
    const size_t dash = text.find('-');
    const auto first = parse_number<uint16_t>(text.substr(0, dash));
    const auto last =
        dash == std::string_view::npos ? first : parse_number<uint16_t>(text.substr(dash + 1));
    if (!first || !last || *first == 0 || *last < *first) {
      throw Wrong(fmt::format("\"{}\" is neither a port nor a range of ports", text));
    }
    rule_.port_first = *first;
    rule_.port_last = *last;
  }

  PolicyRule& rule_;
  std::string_view rest_;
};

bool same_prefix(const IpAddress& one, const IpAddress& other, unsigned bits) {
  if (one.v6 != other.v6) return false;
  const unsigned whole = bits / 8;
  if (!std::equal(one.octets.begin(), one.octets.begin() + whole, other.octets.begin())) {
    return false;
  }
  const unsigned rest = bits % 8;
  return rest == 0 || ((one.octets[whole] ^ other.octets[whole]) >> (8U - rest)) == 0;
}

bool covers_place(const PolicyRule& rule, const PolicyRule& other) {
  switch (rule.place) {
    case Place::kAnywhere:
      return true;
    case Place::kNetwork:
      return other.place == Place::kNetwork && other.prefix_bits >= rule.prefix_bits &&
             same_prefix(rule.network, other.network, rule.prefix_bits);
    case Place::kName:
      return other.place == Place::kName && other.name == rule.name;
    case Place::kSuffix:
      return (other.place == Place::kName || other.place == Place::kSuffix) &&
             (other.name.ends_with('.' + rule.name) ||
              (other.place == Place::kSuffix && other.name == rule.name));
  }
  return false;
}

std::string_view without_blanks(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r";
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

// Waits for who writes into a pipe, as in @<(command).
std::string read_file(const std::string& path, const std::string& tried) {
  SystemClock clock;
  std::string text;
  const int refusal = read_text(path, text, kFile_size, clock);
  if (refusal == 0) return text;
  if (refusal == ENXIO) {
    throw Error(
        EX_NOINPUT,
        fmt::format("cannot {}: nobody writes into this FIFO; start its writer first", tried));
  }
  if (refusal == EFBIG) {
    throw Error(EX_DATAERR,
                fmt::format("cannot {}: it is longer than {} bytes; is it a file of rules?", tried,
                            kFile_size));
  }
  throw host_error(refusal, tried, "name a file of rules that you may read", EX_NOINPUT);
}

}  // namespace

PolicyRule PolicyRule::parse(Action action, std::string_view text) {
  PolicyRule rule;
  rule.action = action;
  try {
    RuleReader(rule, text).read();
  } catch (const RuleReader::Wrong& wrong) {
    throw Error(EX_USAGE, fmt::format("cannot {} \"{}\": {}; write for example "
                                      "tcp:example.org:443, udp:10.0.0.0/8, *.example.org or any",
                                      action_name(action), text, wrong));
  }
  return rule;
}

std::vector<PolicyRule> PolicyRule::parse_file(Action action, const std::string& path) {
  const auto tried = fmt::format("read the rules in {}", path);
  std::string text = read_file(path, tried);
  std::vector<PolicyRule> rules;
  std::istringstream lines(std::move(text));
  std::string line;
  for (size_t number = 1; std::getline(lines, line); ++number) {
    const std::string_view rule = without_blanks(std::string_view(line).substr(0, line.find('#')));
    if (rule.empty()) continue;
    try {
      rules.push_back(parse(action, rule));
    } catch (const Error& error) {
      throw Error(EX_DATAERR, fmt::format("cannot {}: line {}: {}", tried, number, error.what()));
    }
  }
  return rules;
}

bool PolicyRule::contains(const IpAddress& address) const {
  return same_prefix(network, address, prefix_bits);
}

std::string_view action_name(PolicyRule::Action action) {
  return action == PolicyRule::Action::kAllow ? "allow" : "deny";
}

std::string to_string(const PolicyRule& rule) {
  std::string text;
  if (rule.matter != Matter::kAny) {
    text = fmt::format("{}:", kMatters[static_cast<size_t>(rule.matter) - 1].first);
  }
  const bool ports = rule.port_first != 0;
  switch (rule.place) {
    case Place::kAnywhere:
      text += "any";
      break;
    case Place::kNetwork: {
      const bool whole = rule.prefix_bits == (rule.network.v6 ? 128 : 32);
      const auto address = to_string(rule.network);
      text += ports && rule.network.v6 ? fmt::format("[{}]", address) : address;
      if (!whole) text += fmt::format("/{}", rule.prefix_bits);
      break;
    }
    case Place::kName:
      text += rule.name;
      break;
    case Place::kSuffix:
      text += "*." + rule.name;
      break;
  }
  if (ports) text += fmt::format(":{}", rule.port_first);
  if (rule.port_last != rule.port_first) text += fmt::format("-{}", rule.port_last);
  return text;
}

std::string described(const PolicyRule& rule) {
  return fmt::format("{} {}", action_name(rule.action), to_string(rule));
}

bool covers(const PolicyRule& rule, const PolicyRule& other) {
  if ((rule.matter == Matter::kQuestion) != (other.matter == Matter::kQuestion)) return false;
  if (rule.matter != Matter::kAny && rule.matter != other.matter) return false;
  if (rule.port_first != 0 &&
      (other.port_first < rule.port_first || other.port_last > rule.port_last)) {
    return false;
  }
  return covers_place(rule, other);
}

}  // namespace netstack
