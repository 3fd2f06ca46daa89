// Theory. libpcap turns an expression into a program for the Berkeley packet filter, which runs on
// a frame in memory in well under a microsecond. The expression comes from the command line, or
// from a client of the control socket while the LAN runs, so compiling it must be quick whatever it
// is:
//
//   no names        libpcap asks getaddrinfo() for every word that is neither a keyword nor a
//                   number, and that may wait for a nameserver for seconds. So the words are looked
//                   at first: keywords, numbers and addresses pass, all else is refused.
//   no optimizer    its time is no linear function of the expression. A filter that is not
//                   optimized takes the same frames.
//   a length        kFilterText_size; the parser's own stack is limited.
//
// Where a name could hide is decided as libpcap's scanner does it (scanner.l): a word begins with a
// letter or digit and goes on over letters, digits, dots, dashes and underlines. So "1-2.example"
// is one word, and a range is one only behind "portrange".
#include "netstack/capture/frame_filter.h"

#include <fmt/format.h>
#include <sysexits.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <memory>
#include <string_view>

#include "netstack/base/error.h"

namespace netstack {

namespace {

// pcap-filter(7): primitives, qualifiers, and names of fields and their values.
constexpr std::array kKeywords = std::to_array<std::string_view>({"aarp",
                                                                  "ah",
                                                                  "and",
                                                                  "arp",
                                                                  "atalk",
                                                                  "broadcast",
                                                                  "byte",
                                                                  "carp",
                                                                  "decnet",
                                                                  "dst",
                                                                  "es-is",
                                                                  "esis",
                                                                  "esp",
                                                                  "ether",
                                                                  "geneve",
                                                                  "greater",
                                                                  "host",
                                                                  "icmp",
                                                                  "icmp-echo",
                                                                  "icmp-echoreply",
                                                                  "icmp-ireq",
                                                                  "icmp-ireqreply",
                                                                  "icmp-maskreply",
                                                                  "icmp-maskreq",
                                                                  "icmp-paramprob",
                                                                  "icmp-redirect",
                                                                  "icmp-routeradvert",
                                                                  "icmp-routersolicit",
                                                                  "icmp-sourcequench",
                                                                  "icmp-timxceed",
                                                                  "icmp-tstamp",
                                                                  "icmp-tstampreply",
                                                                  "icmp-unreach",
                                                                  "icmp6",
                                                                  "icmp6-destinationunreach",
                                                                  "icmp6-echo",
                                                                  "icmp6-echoreply",
                                                                  "icmp6-neighboradvert",
                                                                  "icmp6-neighborsolicit",
                                                                  "icmp6-packettoobig",
                                                                  "icmp6-parameterproblem",
                                                                  "icmp6-redirect",
                                                                  "icmp6-routeradvert",
                                                                  "icmp6-routersolicit",
                                                                  "icmp6-timeexceeded",
                                                                  "icmp6code",
                                                                  "icmp6type",
                                                                  "icmpcode",
                                                                  "icmptype",
                                                                  "igmp",
                                                                  "igrp",
                                                                  "ip",
                                                                  "ip6",
                                                                  "ipx",
                                                                  "is-is",
                                                                  "isis",
                                                                  "iso",
                                                                  "lat",
                                                                  "len",
                                                                  "length",
                                                                  "less",
                                                                  "link",
                                                                  "llc",
                                                                  "mask",
                                                                  "moprc",
                                                                  "mopdl",
                                                                  "mpls",
                                                                  "multicast",
                                                                  "net",
                                                                  "netbeui",
                                                                  "not",
                                                                  "or",
                                                                  "pim",
                                                                  "port",
                                                                  "portrange",
                                                                  "pppoed",
                                                                  "pppoes",
                                                                  "proto",
                                                                  "protochain",
                                                                  "rarp",
                                                                  "sca",
                                                                  "sctp",
                                                                  "src",
                                                                  "stp",
                                                                  "tcp",
                                                                  "tcp-ack",
                                                                  "tcp-cwr",
                                                                  "tcp-ece",
                                                                  "tcp-fin",
                                                                  "tcp-push",
                                                                  "tcp-rst",
                                                                  "tcp-syn",
                                                                  "tcp-urg",
                                                                  "tcpflags",
                                                                  "udp",
                                                                  "vlan",
                                                                  "vrrp"});
static_assert(kKeywords.size() < 128);

constexpr std::string_view kDigits = "0123456789";
constexpr size_t kAddressParts_count = 4;

bool is_made_of(std::string_view text, std::string_view allowed) {
  return !text.empty() && text.find_first_not_of(allowed) == std::string_view::npos;
}

// "10", "10.0", "10.0.2", "10.0.2.15"
bool is_dotted(std::string_view word) {
  for (size_t part = 0; part < kAddressParts_count; ++part) {
    const size_t end = std::min(word.find('.'), word.size());
    if (!is_made_of(word.substr(0, end), kDigits)) return false;
    if (end == word.size()) return true;
    word.remove_prefix(end + 1);
  }
  return false;
}

bool is_range(std::string_view word) {
  const size_t dash = word.find('-');
  return dash != word.npos && is_made_of(word.substr(0, dash), kDigits) &&
         is_made_of(word.substr(dash + 1), kDigits);
}

// A MAC or IPv6 address, or the inside of ip[6:2]: with a colon no name can be.
bool is_with_colons(std::string_view word) {
  return word.find(':') != word.npos && is_made_of(word, "0123456789abcdefABCDEF:.");
}

bool is_hexadecimal(std::string_view word) {
  return (word.starts_with("0x") || word.starts_with("0X")) &&
         is_made_of(word.substr(2), "0123456789abcdefABCDEF");
}

bool needs_no_lookup(std::string_view word, std::string_view before) {
  return std::ranges::find(kKeywords, word) != kKeywords.end() || is_dotted(word) ||
         is_hexadecimal(word) || is_with_colons(word) || (before == "portrange" && is_range(word));
}

Error refused(const std::string& text, std::string_view why) {
  return {EX_USAGE,
          fmt::format("cannot use the filter \"{}\": {}; see pcap-filter(7), as in tcp port 80 and "
                      "host 10.0.2.15",
                      text, why)};
}

void refuse_names(const std::string& text) {
  const auto is_of_word = [](char byte) {
    return std::isalnum(static_cast<unsigned char>(byte)) != 0 || byte == '.' || byte == ':' ||
           byte == '-' || byte == '_';
  };
  std::string_view before;
  for (size_t at = 0; at < text.size();) {
    const char byte = text[at];
    size_t end = at + 1;
    if (std::isalnum(static_cast<unsigned char>(byte)) != 0 || byte == ':') {
      while (end < text.size() && is_of_word(text[end])) ++end;
      const std::string_view word = std::string_view(text).substr(at, end - at);
      if (!needs_no_lookup(word, before)) {
        throw refused(text,
                      fmt::format("\"{}\" is no keyword, number or address, and names are not "
                                  "looked up",
                                  word));
      }
      before = word;
    } else if (std::string_view(" \t\n!&|()[]<>=+-*/%^").find(byte) == std::string_view::npos) {
      throw refused(text, "it has a character that no filter has");
    }
    at = end;
  }
}

}  // namespace

FrameFilter::FrameFilter(const std::string& text) : whole_(kFrameBytesMax) {
  if (text.size() > kFilterText_size) {
    throw refused(text.substr(0, 40) + "…",
                  fmt::format("it is longer than {} bytes", kFilterText_size));
  }
  refuse_names(text);
  const std::unique_ptr<pcap_t, void (*)(pcap_t*)> pcap(
      ::pcap_open_dead(DLT_EN10MB, static_cast<int>(kFrameBytesMax)), ::pcap_close);
  if (!pcap) throw refused(text, "there is no memory for it");
  constexpr int kOptimize = 0;
  if (::pcap_compile(pcap.get(), &program_, text.c_str(), kOptimize, PCAP_NETMASK_UNKNOWN) != 0) {
    throw refused(text, ::pcap_geterr(pcap.get()));
  }
}

FrameFilter::~FrameFilter() {
  ::pcap_freecode(&program_);
}

bool FrameFilter::takes(const Frame& frame) {
  const uint8_t* bytes = frame.head.data();
  if (frame.head_bytes < frame.bytes) {
    copy_frame(frame, whole_.data());
    bytes = whole_.data();
  }
  pcap_pkthdr head{};
  head.caplen = head.len = frame.bytes;
  return ::pcap_offline_filter(&program_, &head, bytes) != 0;
}

}  // namespace netstack
