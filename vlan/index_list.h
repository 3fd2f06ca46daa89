#pragma once

#include <cstdint>
#include <span>

namespace vlan {

constexpr uint32_t kNowhere = 0xffff'ffff;  // the index of no node

struct Link {
  uint32_t previous = kNowhere;
  uint32_t next = kNowhere;
};

// A doubly linked list threaded through an array: nodes are named by their index in `nodes`, and a
// node may be in several lists at once through several links. Adding and removing are O(1) and
// allocate nothing. The list holds two indices and borrows the array for each call, so a vector of
// lists stays small and an array may be moved.
template <class Node, Link Node::*kLink>
class IndexList {
 public:
  bool empty() const { return front_ == kNowhere; }
  uint32_t front() const { return front_; }  // kNowhere when empty

  void push_back(std::span<Node> nodes, uint32_t at) {
    nodes[at].*kLink = {back_, kNowhere};
    (back_ == kNowhere ? front_ : (nodes[back_].*kLink).next) = at;
    back_ = at;
  }

  void remove(std::span<Node> nodes, uint32_t at) {
    const Link link = nodes[at].*kLink;
    (link.previous == kNowhere ? front_ : (nodes[link.previous].*kLink).next) = link.next;
    (link.next == kNowhere ? back_ : (nodes[link.next].*kLink).previous) = link.previous;
  }

  void move_to_back(std::span<Node> nodes, uint32_t at) {
    if (at == back_) return;
    remove(nodes, at);
    push_back(nodes, at);
  }

 private:
  uint32_t front_ = kNowhere;
  uint32_t back_ = kNowhere;
};

}  // namespace vlan
