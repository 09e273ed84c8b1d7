// Mutations that know where tables lie. Half of the time a word of a table, a refcount or a field of the
// header gets a value that could be meant: most bytes of an image are data, and no flipped bit of those
// leads anywhere.

import FuzzTargets

@_silgen_name("LLVMFuzzerMutate")
private func mutateBytes(_ bytes: UnsafeMutablePointer<UInt8>, _ count: Int, _ room: Int) -> Int

/// Changes an input in place; returns its new length, `room` at most.
@_cdecl("LLVMFuzzerCustomMutator")
public func mutate(
  _ bytes: UnsafeMutablePointer<UInt8>, _ count: Int, _ room: Int, _ seed: UInt32
) -> Int {
  let start = target == .script ? FuzzTarget.scriptLength : 0
  guard target != .compressed, seed & 1 == 0, count >= start + 112 else {
    return unsafe mutateBytes(bytes, count, room)
  }
  var mutation = unsafe TableMutation(
    image: UnsafeMutableBufferPointer(start: bytes + start, count: count - start), random: UInt64(seed))
  mutation.run()
  return count
}

/// Changes a few words of an image in place.
private struct TableMutation {
  let image: UnsafeMutableBufferPointer<UInt8>
  var random: UInt64

  private mutating func next(_ limit: Int) -> Int {
    random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Int(random >> 33) % max(1, limit)
  }

  /// A big-endian number; 0 where the image has ended.
  private func number(_ at: Int, _ width: Int) -> UInt64 {
    guard at >= 0, at <= image.count - width else { return 0 }
    return (0..<width).reduce(0) { unsafe $0 << 8 | UInt64(image[at + $1]) }
  }

  private func put(_ value: UInt64, _ at: Int, _ width: Int) {
    guard at >= 0, at <= image.count - width else { return }
    for index in 0..<width {
      unsafe image[at + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * (width - 1 - index)))
    }
  }

  /// An offset in a table's place, if the image reaches so far.
  private func place(_ entry: Int) -> Int {
    let offset = number(entry, 8) & 0x00ff_ffff_ffff_fe00
    return offset < UInt64(image.count) ? Int(offset) : -1
  }

  mutating func run() {
    for _ in 0...next(4) {
      let clusterBits = min(21, max(9, Int(number(20, 4))))
      let l1 = place(40)
      let refcounts = place(48)
      let tables = [
        l1, refcounts, place(l1), place(l1 + 8 * next(4)), place(refcounts), place(64), 16 + 8 * next(11),
      ]
      let table = tables[next(tables.count)]
      guard table >= 0 else { continue }
      let at = table + 8 * next(min(1 << clusterBits, image.count - table) / 8)
      put(word(at, clusterBits), at & ~7, 8)
    }
  }

  /// What an entry could be: a place near by or far away, with flags, or the old one changed a little.
  private mutating func word(_ at: Int, _ clusterBits: Int) -> UInt64 {
    let clusters = image.count >> clusterBits + 3
    var value = UInt64(next(clusters)) << UInt64(clusterBits)
    switch next(8) {
    case 0: value = number(at & ~7, 8) ^ 1 << UInt64(next(64))
    case 1: value = number(at & ~7, 8) &+ UInt64(next(5)) &- 2
    case 2: value = UInt64(next(1 << 30)) << UInt64(next(34))
    case 3: return number(8 * next(image.count / 8), 8)
    default: break
    }
    // COPIED, compressed, reads as zeroes.
    let flags: [UInt64] = [0, 1 << 63, 1 << 63, 1 << 62, 1, 1 << 63 | 1, 3 << 62, 0]
    return value ^ flags[next(flags.count)]
  }
}
