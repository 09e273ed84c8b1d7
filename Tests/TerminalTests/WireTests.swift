// What the real program writes and how soon: bytes per cursor move, an idle second, the first frame.

import Foundation
import TestSupport
import Testing

@Suite("qatlas on the wire", .serialized, .tags(.terminal), .waits)
struct WireTests {
  /// Places to walk in, and the keys that lead there. A digit would be the count of the first move.
  static let places = [("guest map", ""), ("host map", "\t"), ("L2 table", "t"), ("host end", "\tG")]

  /// A seeded walk; the costs above the limit with their keys.
  private func walk(
    _ session: PtySession, moves: Int, seed: UInt64, limit: Int
  ) -> (worst: Int, over: [String]) {
    var random = SplitMix64(seed: seed)
    var over: [String] = []
    var worst = 0
    for number in 0..<moves {
      let key = ["h", "j", "k", "l"][Int(random.next() % 4)]
      let cost = session.cost(of: key)
      worst = max(worst, cost)
      if cost > limit { over.append("move \(number) \(key): \(cost) bytes") }
    }
    return (worst, over)
  }

  private func walkEverywhere(
    _ name: String, _ session: PtySession, moves: Int, limit: Int = 400
  ) throws {
    for (columns, rows) in [(80, 24), (120, 40), (200, 60)] {
      session.resize(columns: columns, rows: rows)
      for (index, (place, keys)) in Self.places.enumerated() {
        session.send(":explorer\r:goto 0\r")
        session.settle()
        session.send(keys)
        session.settle()
        let seed = UInt64(columns * 10 + index)
        let clears = session.screen.clears
        let result = walk(session, moves: moves, seed: seed, limit: limit)
        #expect(result.over == [], "\(name), \(place), \(columns)x\(rows), seed \(seed)")
        #expect(result.worst > 0, "\(name), \(place): nothing was written")
        #expect(session.screen.clears == clears)
        if keys == "t" { session.send("q") }
      }
    }
  }

  /// The demo has all kinds of places side by side: a step in one map can move the other map to its
  /// other end and change every line of the place. Such a step writes up to 473 bytes.
  @Test("a cursor move on the demo image writes at most 480 bytes and never clears")
  func demoMoves() throws {
    try walkEverywhere("demo", try Program.start([]), moves: 12, limit: 480)
  }

  @Test("a cursor move on 1 TiB with all L2 tables writes at most 400 bytes and never clears")
  func largeMoves() throws {
    let folder = try TemporaryDirectory()
    let session = try Program.start([try Program.largeImage(in: folder)], patience: 120)
    try walkEverywhere("1 TiB", session, moves: 12)
    // A list that scrolls moves lines instead of writing them.
    session.send(":explorer\r:goto L2 0 0\r")
    session.settle()
    var worst = 0
    for _ in 0..<60 { worst = max(worst, session.cost(of: "j")) }
    #expect(session.screen.text.contains("entry 60 at"))
    #expect(worst <= 400)
  }

  @Test("an idle second writes nothing and uses no time")
  func idle() throws {
    let session = try Program.start()
    let (count, time) = (session.byteCount, session.cpuTime)
    session.pump(seconds: 1.2)
    #expect(session.byteCount == count)
    #expect(session.cpuTime - time <= 20)
  }

  @Test("the first frame of a 1 TiB image with full tables comes within 100 ms")
  func firstFrame() throws {
    let folder = try TemporaryDirectory()
    let large = try Program.largeImage(in: folder)
    var best = Double.infinity
    // The best of several, and the program's own time if others had the processors: a busy machine must not
    // decide this.
    for _ in 0..<8 where best >= 0.1 {
      let before = Date()
      let session = try PtySession(try builtProduct("qatlas"), [large], columns: 120, rows: 40)
      try session.waitFor("1 Guest map")
      let (wall, own) = (Date().timeIntervalSince(before), session.cpuTime)
      // Of a program that has ended nothing is known.
      best = min(best, wall, own < 0 ? wall : Double(own) / 1000)
    }
    #expect(best < 0.1)
  }

  @Test("a slow line drops frames, not keys")
  func slowReader() throws {
    let session = try Program.start(columns: 200, rows: 60)
    // Nobody reads while repaints and moves pile up.
    for _ in 0..<20 { session.send("\u{c}l") }
    session.send(":goto 0x140000\r")
    try session.press("", "the last command", expect: 0x140000)
    session.send("q")
    #expect(try session.waitForExit() == 0)
    #expect(session.leftovers == [])
  }
}
