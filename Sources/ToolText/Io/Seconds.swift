// Times as the genuine tools print them.

extension Duration {
  /// The time in seconds.
  package var inSeconds: Double {
    Double(components.seconds) + Double(components.attoseconds) / 1e18
  }
}
