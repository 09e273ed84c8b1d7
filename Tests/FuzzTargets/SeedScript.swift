// Scripts that use every request, in orders in which requests need each other.

struct SeedScript {
  var name: String
  /// The two bytes of options.
  var options: (UInt8, UInt8) = (0, 0)
  var requests: [(kind: ScriptRequest.Kind, unit: UInt8, position: UInt16, length: UInt16, value: UInt8)]

  static let all: [SeedScript] = [
    SeedScript(
      name: "data",
      requests: [
        (.write, 1, 3, 4, 7), (.write, 0, 100, 900, 200), (.read, 3, 0, 8, 0), (.zeroKeep, 3, 2, 2, 0),
        (.zeroUnmap, 3, 0, 3, 0), (.discard, 3, 1, 4, 0), (.compress, 3, 9, 2, 5), (.write, 0, 5000, 3000, 1),
        (.writeZeroBytes, 1, 2, 9, 0), (.flush, 0, 0, 0, 0), (.check, 0, 0, 0, 0),
      ]),
    SeedScript(
      name: "snapshots", options: (2, 1),
      requests: [
        (.snapshot, 0, 0, 0, 1), (.write, 3, 0, 5, 9), (.snapshot, 0, 0, 0, 2), (.discard, 3, 1, 2, 0),
        (.apply, 0, 0, 0, 0), (.write, 0, 700, 700, 3), (.delete, 0, 0, 0, 0), (.scan, 0, 0, 0, 0),
        (.delete, 0, 0, 0, 0), (.check, 0, 0, 0, 0),
      ]),
    SeedScript(
      name: "sizes", options: (0, 16),
      requests: [
        (.resize, 0, 500, 0, 4), (.write, 5, 1, 3, 8), (.resize, 0, 900, 0, 5), (.resize, 0, 300, 0, 0),
        (.resize, 0, 100, 0, 6), (.resize, 0, 100, 0, 7), (.write, 4, 77, 3, 8), (.resize, 0, 2000, 0, 0),
        (.reopen, 0, 0, 0, 0), (.write, 3, 0, 3, 8),
      ]),
    SeedScript(
      name: "undo", options: (1, 4),
      requests: [
        (.write, 3, 0, 5, 9), (.compress, 3, 9, 2, 5), (.undo, 0, 0, 0, 0), (.undo, 0, 0, 0, 0),
        (.undo, 0, 0, 0, 1), (.discard, 3, 0, 9, 0), (.snapshot, 0, 0, 0, 1), (.resize, 0, 64, 0, 4),
        (.undo, 0, 0, 0, 0), (.writeZeroBytes, 1, 2, 9, 0), (.reopen, 0, 0, 0, 0), (.scan, 0, 0, 0, 0),
      ]),
    SeedScript(
      name: "crash", options: (32 + 64, 8 + 32),
      requests: [
        (.write, 3, 0, 5, 9), (.flush, 0, 0, 0, 0), (.write, 5, 1, 5, 9), (.reopen, 0, 0, 0, 1),
        (.discard, 3, 0, 9, 0), (.write, 3, 2, 1, 9), (.reopen, 0, 0, 0, 1), (.compress, 3, 3, 1, 0),
        (.discard, 3, 3, 1, 0), (.compress, 3, 3, 1, 1), (.read, 3, 3, 1, 1),
      ]),
    // The second stream takes the very place of the first, which was data in between.
    SeedScript(
      name: "streams",
      requests: [
        (.discard, 3, 4, 2, 0), (.compress, 3, 90, 1, 5), (.discard, 3, 90, 1, 0), (.write, 3, 10, 1, 1),
        (.discard, 3, 10, 1, 0), (.compress, 3, 90, 1, 9), (.snapshot, 0, 0, 0, 1),
        (.compress, 3, 91, 1, 9), (.delete, 0, 0, 0, 0), (.discard, 3, 91, 1, 0), (.compress, 3, 91, 2, 6),
      ]),
  ]

  /// The script, filled up to the place of the image.
  var bytes: [UInt8] {
    var bytes: [UInt8] = [options.0, options.1]
    for request in requests {
      bytes += [
        request.kind.rawValue | request.unit << 4, UInt8(request.position >> 8),
        UInt8(request.position & 255),
        UInt8(request.length >> 8), UInt8(request.length & 255), request.value,
      ]
    }
    return bytes + [UInt8](repeating: 0, count: FuzzTarget.scriptLength - bytes.count)
  }
}
