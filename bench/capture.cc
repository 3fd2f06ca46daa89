// What a capture costs the loop: observing one frame. The writer thread works beside it, into
// /dev/null. A round fits the ring, and the clock stands still until the writer has taken it out,
// since frames that are lost cost less than those that are kept. Read CPU time, not time: the
// writer shares the processors.
#include "netstack/capture/capture.h"

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

namespace {

using namespace netstack;

constexpr size_t kRoundBytes = kCaptureRingBytes / 2;  // heads and comments included
constexpr size_t kRecordBytes = 300;                   // more than those of one frame
constexpr int64_t kRounds_count = 10;
constexpr useconds_t kLook_us = 1000;

struct SilentLog final : Log {
  void line(std::string_view) override {}
};

// With a note on every frame, or on none.
class NotedPort final : public Port {
 public:
  explicit NotedPort(size_t note_count) : Port("gateway", kFrameBytesMax) {
    for (size_t at = 0; at < note_count; ++at) notes_.push_back({at, text_});
  }
  std::span<const FrameNote> notes() const noexcept override { return notes_; }

 protected:
  size_t transmit(std::span<const Frame> burst) noexcept override { return burst.size(); }

 private:
  std::string text_ = std::string(250, 'w');
  std::vector<FrameNote> notes_;
};

void observe(benchmark::State& state, const char* name, size_t note_count) {
  std::string folder = std::filesystem::temp_directory_path() / "lanyard-bench-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) return state.SkipWithError("no temporary folder");
  const std::filesystem::path link = std::filesystem::path(folder) / name;
  std::filesystem::create_symlink("/dev/null", link);
  {
    SystemClock clock;
    Loop loop(clock);
    SilentLog log;
    Capture capture(link, loop, log);
    const NotedPort port(note_count);
    const std::vector<uint8_t> bytes(static_cast<size_t>(state.range(0)), 0x42);
    const auto burst_frames = static_cast<size_t>(state.range(1));
    FrameBatch<kBurstFrames> batch;
    for (size_t i = 0; i < burst_frames; ++i) batch.add(bytes.data(), bytes.size());
    const size_t round_frames = kRoundBytes / (bytes.size() + kRecordBytes);
    uint64_t frames = 0;
    for (auto _ : state) {
      for (size_t i = 0; i < round_frames; i += burst_frames) {
        capture.observe(port, batch.frames());
        frames += batch.frames().size();
      }
      state.PauseTiming();
      while (capture.frames_captured() + capture.frames_lost() < frames) ::usleep(kLook_us);
      state.ResumeTiming();
    }
    state.SetItemsProcessed(static_cast<int64_t>(frames));
    state.counters["per_frame"] = benchmark::Counter(
        static_cast<double>(frames), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
    if (capture.frames_lost() > 0) state.SkipWithError("frames were lost");
  }
  std::filesystem::remove_all(folder);
}

void BM_capture_pcap(benchmark::State& state) {
  observe(state, "a.pcap", 0);
}
void BM_capture_pcapng(benchmark::State& state) {
  observe(state, "a.pcapng", 0);
}
void BM_capture_comments(benchmark::State& state) {
  observe(state, "a.pcapng", static_cast<size_t>(state.range(1)));
}

constexpr int64_t kSmall_bytes = 64;
constexpr int64_t kLarge_bytes = 1514;

void shapes(benchmark::internal::Benchmark* bench) {
  for (const int64_t size : {kSmall_bytes, kLarge_bytes}) {
    for (const int64_t burst : {1, 64}) bench->Args({size, burst})->Iterations(kRounds_count);
  }
}
BENCHMARK(BM_capture_pcap)->Apply(shapes);
BENCHMARK(BM_capture_pcapng)->Apply(shapes);
BENCHMARK(BM_capture_comments)->Apply(shapes);

}  // namespace
