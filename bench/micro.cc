// What one frame costs in the parts every frame passes: checksum, view, header parse.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "netstack/base/bytes.h"
#include "netstack/base/checksum.h"
#include "netstack/frame/frame.h"
#include "netstack/wire/ipv4.h"
#include "netstack/wire/pseudo_header.h"
#include "netstack/wire/tcp.h"

namespace {

using namespace netstack;

constexpr size_t kFrameBytes = 1514;

// A TCP segment from 10.0.2.15 to 192.0.2.7 in an untagged frame, checksums right.
std::vector<uint8_t> tcp_frame() {
  std::vector<uint8_t> frame(kFrameBytes, 0x5a);
  write_u16(&frame[12], kEthertypeIpv4);
  const Ipv4 ip{.protocol = kProtocolTcp,
                .source = IpAddress::v4(0x0a00020f),
                .destination = IpAddress::v4(0xc0000207),
                .total_bytes = kFrameBytes - kEthernetHeadBytes};
  write_ipv4(ip, &frame[kEthernetHeadBytes]);
  const std::span segment = std::span(frame).subspan(kEthernetHeadBytes + kIpv4HeadBytes);
  write_tcp({.source_port = 1024, .destination_port = 80, .flags = kTcpAck}, segment.data());
  write_u16(&segment[16], transport_checksum(ip.source, ip.destination, kProtocolTcp, segment));
  return frame;
}

void BM_checksum(benchmark::State& state) {
  const std::vector<uint8_t> bytes(static_cast<size_t>(state.range(0)), 0x5a);
  for (auto _ : state) {
    benchmark::DoNotOptimize(bytes.data());
    benchmark::DoNotOptimize(internet_checksum(bytes));
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_checksum)->Arg(64)->Arg(1500)->Arg(9000);

// The loop of RFC 1071 §4.1, for comparison.
void BM_checksum_rfc_loop(benchmark::State& state) {
  const std::vector<uint8_t> bytes(static_cast<size_t>(state.range(0)), 0x5a);
  for (auto _ : state) {
    benchmark::DoNotOptimize(bytes.data());
    uint32_t sum = 0;
    for (size_t at = 0; at + 1 < bytes.size(); at += 2) sum += read_u16(&bytes[at]);
    benchmark::DoNotOptimize(sum);
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_checksum_rfc_loop)->Arg(1500);

void BM_view_frame(benchmark::State& state) {
  const std::vector<uint8_t> bytes = tcp_frame();
  Frame frame;
  iovec body{};
  for (auto _ : state) {
    benchmark::DoNotOptimize(bytes.data());
    benchmark::DoNotOptimize(view_frame(bytes.data(), bytes.size(), frame, body));
    benchmark::DoNotOptimize(frame);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_view_frame);

void BM_parse_ipv4_tcp(benchmark::State& state) {
  const std::vector<uint8_t> bytes = tcp_frame();
  const std::span packet = std::span(bytes).subspan(kEthernetHeadBytes);
  for (auto _ : state) {
    benchmark::DoNotOptimize(packet.data());
    const auto ip = parse_ipv4(packet);
    if (!ip) return state.SkipWithError("the frame does not parse");
    const auto tcp = parse_tcp(ipv4_payload(*ip, packet));
    benchmark::DoNotOptimize(tcp->seq);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_parse_ipv4_tcp);

}  // namespace
