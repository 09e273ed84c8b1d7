// The commands that move guest data: read with its comparison and its dump, write with its
// patterns, zero-write, and discard.

import Cartography
import Glibc
import Qcow
import QcowFormat
import Storage

extension IoSession {
  /// Offset and length of a request.
  func range(_ arguments: IoArguments, limit: String?) throws(Failure) -> (
    offset: UInt64, count: UInt64
  ) {
    guard arguments.operands.count == 2 else { throw .usage }
    let offset = try Self.number(arguments.operands[0])
    let count = try Self.number(arguments.operands[1])
    if let limit, count > Self.largestRequest {
      throw .text(
        "length cannot exceed \(Self.largestRequest)\(limit), given \(Escaping.human(arguments.operands[1]))")
    }
    return (offset, count)
  }

  func requireOnDisk(_ disk: any GuestDisk, _ offset: UInt64, _ count: UInt64, _ verb: String)
    throws(Failure)
  {
    let size = disk.virtualSize
    guard offset <= size, count <= size - offset else { throw .request(verb: verb, EIO) }
  }

  private func requireSectors(_ offset: UInt64, _ count: UInt64) throws(Failure) {
    for (name, value) in [("offset", offset), ("count", count)] where value % 512 != 0 {
      throw .text("\(value) is not a sector-aligned value for '\(name)'")
    }
  }

  /// Seconds that `body` takes.
  func timed(_ body: () throws(Failure) -> Void) throws(Failure) -> Double {
    let clock = ContinuousClock()
    let start = clock.now
    try body()
    return start.duration(to: clock.now).inSeconds
  }

  // MARK: Read

  func read(_ arguments: IoArguments, _ disk: any GuestDisk) throws(Failure) {
    let pattern = try arguments.values["P"].map { (text) throws(Failure) in try Self.pattern(text) }
    let skip = try arguments.values["s"].map { (text) throws(Failure) in try Self.number(text) }
    let compared = try arguments.values["l"].map { (text) throws(Failure) in try Self.number(text) }
    let (offset, count) = try range(arguments, limit: "")
    if pattern == nil && (skip != nil || compared != nil) { throw .usage }
    let start = skip ?? 0
    guard start <= count, compared ?? 0 <= count - start else {
      throw .text("pattern verification range exceeds end of read data")
    }
    let isState = arguments.flags.contains("b")
    if isState { try requireSectors(offset, count) } else { try requireOnDisk(disk, offset, count, "read") }
    let check = start..<(start + (compared ?? count - start))
    try read(arguments, disk, offset, count, pattern, check, isState: isState)
  }

  /// Reads, compares the bytes in `check` with a pattern, shows and reports, as the options ask for.
  func read(
    _ arguments: IoArguments, _ disk: any GuestDisk, _ offset: UInt64, _ count: UInt64, _ pattern: UInt8?,
    _ check: Range<UInt64>, isState: Bool = false
  ) throws(Failure) {
    var isEqual = true
    let seconds = try timed { () throws(Failure) in
      unsafe try chunks(disk, offset, count, isState) { piece, at in
        guard let pattern, isEqual else { return }
        isEqual = unsafe Self.matches(piece, at: at, check, pattern)
      }
    }
    if !isEqual {
      terminal.output(
        "Pattern verification failed at offset \(offset + check.lowerBound), \(check.count) bytes\n")
    }
    if !arguments.flags.contains("q"), arguments.flags.contains("v") {
      unsafe try chunks(disk, offset, count, isState) { piece, at in
        terminal.output(unsafe IoFormat.dump(piece, offset: offset + at))
      }
    }
    report(arguments, IoFormat.Report(verb: "read", offset: offset, count: count, seconds: seconds))
    if !isEqual { throw .said }
  }

  /// Reads a range in pieces of 1 MiB, so that a long read takes little memory.
  private func chunks(
    _ disk: any GuestDisk, _ offset: UInt64, _ count: UInt64, _ isState: Bool,
    _ body: (UnsafeRawBufferPointer, UInt64) -> Void
  ) throws(Failure) {
    guard count > 0 || isState else { return }
    guard let buffer = unsafe memory.bytes(Int(min(count, 1 << 20))) else {
      throw Self.noMemory("read")
    }
    var done: UInt64 = 0
    repeat {
      let piece = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(min(count - done, 1 << 20))])
      try engine("read") { () throws(ImageError) in
        if isState {
          try unsafe disk.readState(at: ByteCount(offset + done), into: piece)
        } else {
          try unsafe disk.read(at: GuestOffset(offset + done), into: piece)
        }
      }
      unsafe body(UnsafeRawBufferPointer(piece), done)
      done += UInt64(piece.count)
    } while done < count
  }

  /// Whether the bytes of `piece` that lie in `range` of the request are all `pattern`.
  private static func matches(
    _ piece: UnsafeRawBufferPointer, at: UInt64, _ range: Range<UInt64>, _ pattern: UInt8
  ) -> Bool {
    let low = max(range.lowerBound, at)
    let high = min(range.upperBound, at + UInt64(piece.count))
    guard low < high else { return true }
    let checked = unsafe UnsafeRawBufferPointer(rebasing: piece[Int(low - at)..<Int(high - at)])
    return unsafe checked.firstIndex(otherThan: pattern) == nil
  }

  // MARK: Write

  func write(_ arguments: IoArguments, _ disk: any GuestDisk) throws(Failure) {
    let flags = arguments.flags
    let pattern = try arguments.values["P"].map { (text) throws(Failure) in try Self.pattern(text) } ?? 0xcd
    guard arguments.operands.count == 2 else { throw .usage }
    if flags.contains("b", and: "z") { throw .text("-b and -z cannot be specified at the same time") }
    if flags.contains("f", and: "b") || flags.contains("f", and: "c") {
      throw .text("-f and -b or -c cannot be specified at the same time")
    }
    if flags.contains("z", and: "r") {
      throw .text("cannot combine zero write with registered I/O buffer")
    }
    if flags.contains("n") && !flags.contains("z") { throw .text("-n requires -z to be specified") }
    if flags.contains("u") && !flags.contains("z") { throw .text("-u requires -z to be specified") }
    if flags.contains("z", and: "P") || flags.contains("z", and: "s") || flags.contains("P", and: "s") {
      throw .text("Only one of -z, -P, and -s can be specified at the same time")
    }
    let (offset, count) = try range(arguments, limit: flags.contains("n") ? nil : " without -n")
    if flags.contains("b") || flags.contains("c") { try requireSectors(offset, count) }
    let source = try arguments.values["s"].map { (name) throws(Failure) in try load(name) }
    if !flags.contains("b") { try requireOnDisk(disk, offset, count, "write") }
    var seconds = 0.0
    if flags.contains("z") {
      seconds = try timed { () throws(Failure) in
        try engine("write") { () throws(ImageError) in
          try disk.writeZeroes(
            at: GuestOffset(offset), count: ByteCount(count), mayUnmap: flags.contains("u"))
        }
        try flushBehind(flags, disk)
      }
    } else {
      seconds = try writeData(disk, offset, Int(count), pattern, source, flags)
    }
    report(arguments, IoFormat.Report(verb: "wrote", offset: offset, count: count, seconds: seconds))
  }

  /// One request in one piece, because the size of a request decides where its clusters go.
  func writeData(
    _ disk: any GuestDisk, _ offset: UInt64, _ count: Int, _ pattern: UInt8, _ source: [UInt8]?,
    _ flags: IoFlags, verb: String = "write"
  ) throws(Failure) -> Double {
    let bytes: UnsafeRawBufferPointer
    if let source {
      guard let buffer = unsafe memory.bytes(count) else { throw Self.noMemory(verb) }
      var at = 0
      while at < count {
        let step = min(source.count, count - at)
        unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[at..<(at + step)]).copyBytes(
          from: source.prefix(step))
        at += step
      }
      unsafe bytes = UnsafeRawBufferPointer(buffer)
    } else {
      guard let buffer = unsafe memory.bytes(count, filledWith: pattern) else { throw Self.noMemory(verb) }
      unsafe bytes = buffer
    }
    return try timed { () throws(Failure) in
      try engine(verb) { () throws(ImageError) in
        if flags.contains("b") {
          unsafe try disk.writeState(bytes, at: ByteCount(offset))
        } else if flags.contains("c") {
          unsafe try disk.writeCompressed(bytes, at: GuestOffset(offset))
        } else {
          unsafe try disk.write(bytes, at: GuestOffset(offset))
        }
      }
      try flushBehind(flags, disk)
    }
  }

  private static func noMemory(_ verb: String) -> Failure {
    .text("\(verb) failed: Cannot allocate memory")
  }

  func flushBehind(_ flags: IoFlags, _ disk: any GuestDisk) throws(Failure) {
    guard flags.contains("f") else { return }
    try engine("write") { () throws(ImageError) in try disk.flush() }
  }

  private func load(_ name: String) throws(Failure) -> [UInt8] {
    let bytes: [UInt8]
    do throws(LoadError) { bytes = try terminal.load(name) } catch {
      terminal.error("\(Escaping.human(name)): \(Escaping.human(error.reason))\n")
      throw .said
    }
    guard !bytes.isEmpty else {
      terminal.error("\(Escaping.human(name)): file is empty\n")
      throw .said
    }
    return bytes
  }

  // MARK: Discard

  func discard(_ arguments: IoArguments, _ disk: any GuestDisk, verb: String, reported: String)
    throws(Failure)
  {
    let (offset, count) = try range(arguments, limit: verb == "discard" ? "" : nil)
    try requireOnDisk(disk, offset, count, verb)
    let seconds = try timed { () throws(Failure) in
      try engine(verb) { () throws(ImageError) in
        try disk.discard(at: GuestOffset(offset), count: ByteCount(count))
      }
    }
    report(arguments, IoFormat.Report(verb: reported, offset: offset, count: count, seconds: seconds))
  }
}
