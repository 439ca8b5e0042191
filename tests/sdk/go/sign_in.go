// Package app is what a user of the generated client writes.
package app

import (
	"context"
	"fmt"

	"phonepass-client/phonepass"
)

// SignIn has a code sent to the mobile and trades it for a token set.
func SignIn(ctx context.Context, client *phonepass.ClientWithResponses, mobile string, readCode func() string) (*phonepass.SignInWithSmsCodeResponse, error) {
	sent, err := client.SendSmsCodeWithResponse(ctx, phonepass.SmsCodeRequest{Mobile: mobile})
	if err != nil {
		return nil, err
	}
	if sent.JSON200 == nil {
		return nil, fmt.Errorf("no code was sent: %s", sent.Body)
	}
	return client.SignInWithSmsCodeWithResponse(ctx, nil, phonepass.SmsCodeSignIn{Mobile: mobile, Code: readCode()})
}
