// The lab in the real program: it goes on by itself, answers keys while it does, and falls silent at its end.

import Foundation
import TestSupport
import Testing

@Suite("qatlas lab screen", .serialized, .tags(.terminal), .waits)
struct LabTerminalTests {
  @Test("a run moves by itself, keys are answered, and its end is silent")
  func run() throws {
    let session = try Program.start()
    session.send(":lab churn\r")
    try session.waitFor("running, 20 per picture")
    try session.waitUntil("the run to go on") {
      $0.text.contains("operation 2") && !$0.text.contains("operation 20 of")
        || $0.text.contains("operation 4")
    }
    session.send("?")
    try session.waitFor("Lab: the keys here")
    session.send("q")
    try session.waitFor("per picture")
    session.send(" ")
    try session.waitFor("paused")
    session.settle()
    #expect(session.cost(of: "") == 0, "a paused run writes nothing")
    session.send("++++++ ")
    try session.waitFor("done", timeout: 60)
    session.settle()
    #expect(session.screen.text.contains("operation 2000 of 2000"))
    #expect(session.cost(of: "") == 0, "a finished run writes nothing")
    session.send("qq")
    #expect(try session.waitForExit() == 0)
  }
}
