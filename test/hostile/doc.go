// Package hostile has clients that break every rule: they say nothing, too much,
// too slowly, or nonsense, in great numbers. Its tests hold the cluster to what it
// promises the others meanwhile: each call succeeds within a limit, memory stays
// within a bound, and afterwards nothing is left behind. The nodes run in a
// process of their own, so that what they hold can be told from what the tests do.
package hostile
