#include "netstack/names/dns_message.h"

// host2wire.h names what it does not include.
#include <ldns/rbtree.h>
//
#include <ldns/dname.h>
#include <ldns/host2wire.h>
#include <ldns/packet.h>
#include <ldns/rdata.h>
#include <ldns/rr.h>
#include <ldns/wire2host.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"
#include "netstack/wire/dns.h"

namespace netstack {

namespace {

constexpr uint8_t kResponseBit = 0x80;  // of the third byte, RFC 1035 §4.1.1
constexpr uint8_t kOpcodeMask = 0x78;
constexpr uint16_t kTypeTransferFirst = 251;  // IXFR; 252 is AXFR: RFC 1995, RFC 5936
constexpr uint16_t kTypeTransferLast = 252;
constexpr size_t kOptHeadBytes = 11;  // root name, type, class, TTL, length: RFC 6891 §6.1.2
constexpr uint16_t kTypeOpt = 41;

struct FreePacket {
  void operator()(ldns_pkt* packet) const { ldns_pkt_free(packet); }
};
using Packet = std::unique_ptr<ldns_pkt, FreePacket>;

// Whether what follows the question is nothing, or one OPT record and nothing else.
bool has_plain_tail(std::span<const uint8_t> message, std::span<const uint8_t> question) {
  const uint16_t additional_count = read_u16(&message[10]);
  if (read_u16(&message[6]) != 0 || read_u16(&message[8]) != 0 || additional_count > 1) {
    return false;
  }
  const auto tail = message.subspan(question.size());
  if (additional_count == 0) return tail.empty();
  return tail.size() >= kOptHeadBytes && tail[0] == 0 && read_u16(&tail[1]) == kTypeOpt &&
         tail.size() == kOptHeadBytes + read_u16(&tail[9]);
}

Packet parse_with_ldns(std::span<const uint8_t> message) {
  ldns_pkt* packet = nullptr;
  if (ldns_wire2pkt(&packet, message.data(), message.size()) != LDNS_STATUS_OK) return nullptr;
  return Packet(packet);
}

std::string lower_case(std::string text) {
  std::ranges::transform(text, text.begin(), [](char letter) {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
  });
  return text;
}

// What libldns makes is only null when there is no memory left.
template <typename Made>
Made* whole(Made* made) {
  check(made != nullptr, "libldns makes what it is given");
  return made;
}

ldns_rdf* name_data(const std::string& name) {
  return whole(ldns_dname_new_frm_str((name + ".").c_str()));
}

ldns_rr* new_record(ldns_rr_type type, const ldns_rdf* owner, uint32_t ttl_seconds) {
  ldns_rr* record = whole(ldns_rr_new());
  ldns_rr_set_owner(record, whole(ldns_rdf_clone(owner)));
  ldns_rr_set_type(record, type);
  ldns_rr_set_class(record, LDNS_RR_CLASS_IN);
  ldns_rr_set_ttl(record, ttl_seconds);
  return record;
}

ldns_rr* address_record(const ldns_rdf* owner, const IpAddress& address) {
  ldns_rr* record =
      new_record(address.v6 ? LDNS_RR_TYPE_AAAA : LDNS_RR_TYPE_A, owner, kDnsLocalTtl_seconds);
  const auto bytes = address.bytes();
  ldns_rr_push_rdf(record,
                   whole(ldns_rdf_new_frm_data(address.v6 ? LDNS_RDF_TYPE_AAAA : LDNS_RDF_TYPE_A,
                                               bytes.size(), bytes.data())));
  return record;
}

ldns_rr* pointer_record(const ldns_rdf* owner, const std::string& name) {
  ldns_rr* record = new_record(LDNS_RR_TYPE_PTR, owner, kDnsLocalTtl_seconds);
  ldns_rr_push_rdf(record, name_data(name));
  return record;
}

// The zone's SOA, by which a resolver knows how long "no" counts (RFC 2308 §5): not at all, since a
// guest may take its lease and name the moment after.
ldns_rr* zone_record(const std::string& zone) {
  ldns_rdf* owner = name_data(zone);
  ldns_rr* record = new_record(LDNS_RR_TYPE_SOA, owner, 0);
  ldns_rdf_deep_free(owner);
  ldns_rr_push_rdf(record, name_data(zone));
  ldns_rr_push_rdf(record, name_data("nobody.invalid"));
  for (const uint32_t number : {1U, 3600U, 600U, 86'400U, 0U}) {  // serial … minimum
    ldns_rr_push_rdf(record, whole(ldns_native2rdf_int32(LDNS_RDF_TYPE_INT32, number)));
  }
  return record;
}

}  // namespace

std::optional<DnsQuery> parse_query(std::span<const uint8_t> message) {
  if (message.size() < kDnsHeadBytes || message.size() > kDnsQueryBytesMax) return std::nullopt;
  if ((message[2] & kResponseBit) != 0) return std::nullopt;
  DnsQuery query;
  const auto refuse = [&](uint8_t rcode) {
    query.refusal = rcode;
    return query;
  };
  if ((message[2] & kOpcodeMask) != 0) return refuse(kDnsNotImplemented);
  const auto question = dns_question(message);
  if (!question || !has_plain_tail(message, *question)) return refuse(kDnsFormatError);
  const Packet packet = parse_with_ldns(message);
  const auto parsed = parse_dns(message);
  if (!packet || !parsed) return refuse(kDnsFormatError);

  const ldns_rr* asked = ldns_rr_list_rr(ldns_pkt_question(packet.get()), 0);
  query.name = lower_case(parsed->question);
  query.type = static_cast<uint16_t>(ldns_rr_get_type(asked));
  query.internet = ldns_rr_get_class(asked) == LDNS_RR_CLASS_IN;
  query.edns = read_u16(&message[10]) == 1;
  if (query.edns) {
    query.udp_bytes_max =
        std::clamp(ldns_pkt_edns_udp_size(packet.get()), kDnsUdpBytesDefault, kDnsUdpBytesMax);
  }
  if (query.type >= kTypeTransferFirst && query.type <= kTypeTransferLast) {
    return refuse(kDnsRefused);  // an answer of many messages
  }
  return query;
}

std::vector<uint8_t> make_local_answer(std::span<const uint8_t> query, const DnsQuery& parsed,
                                       const LocalAnswer& answer) {
  const Packet packet = parse_with_ldns(query);
  check(packet != nullptr, "a parsed query parses");
  ldns_pkt* out = packet.get();  // id, question, RD and CD stay as they are
  ldns_pkt_set_qr(out, true);
  ldns_pkt_set_aa(out, true);
  ldns_pkt_set_ra(out, true);
  ldns_pkt_set_ad(out, false);
  ldns_pkt_set_rcode(out, answer.rcode);
  if (parsed.edns) {
    ldns_pkt_set_edns_udp_size(out, kDnsUdpBytesMax);
    ldns_rdf_deep_free(ldns_pkt_edns_data(out));  // the guest's options are none of ours
    ldns_pkt_set_edns_data(out, nullptr);
  }
  const ldns_rdf* owner = ldns_rr_owner(ldns_rr_list_rr(ldns_pkt_question(out), 0));
  for (const IpAddress& address : answer.addresses) {
    ldns_pkt_push_rr(out, LDNS_SECTION_ANSWER, address_record(owner, address));
  }
  for (const std::string& name : answer.names) {
    ldns_pkt_push_rr(out, LDNS_SECTION_ANSWER, pointer_record(owner, name));
  }
  if (answer.addresses.empty() && answer.names.empty() && !answer.zone.empty()) {
    ldns_pkt_push_rr(out, LDNS_SECTION_AUTHORITY, zone_record(answer.zone));
  }
  uint8_t* bytes = nullptr;
  size_t size = 0;
  const ldns_status status = ldns_pkt2wire(&bytes, out, &size);
  check(status == LDNS_STATUS_OK, "libldns writes what it has made");
  std::vector<uint8_t> message(bytes, bytes + size);
  std::free(bytes);
  return message;
}

}  // namespace netstack
