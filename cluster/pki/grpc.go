package pki

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
)

// ServerCredentials are for a gRPC server on Listener.GRPC: the handshake has
// been done before the connection gets there. Its calls have an AuthInfo.
func ServerCredentials() credentials.TransportCredentials { return handshaked{} }

type handshaked struct{}

// ServerHandshake implements credentials.TransportCredentials.
func (handshaked) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	g, ok := conn.(*guest)
	if !ok {
		return nil, nil, errors.New("gRPC connection without TLS")
	}
	return g, AuthInfo{
		TLSInfo: credentials.TLSInfo{
			State:          g.ConnectionState(),
			CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		},
		guest: g,
	}, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (handshaked) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are for servers")
}

// Info implements credentials.TransportCredentials.
func (handshaked) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (handshaked) Clone() credentials.TransportCredentials { return handshaked{} }

// OverrideServerName implements credentials.TransportCredentials.
func (handshaked) OverrideServerName(string) error {
	return errors.New("these credentials are for servers")
}
